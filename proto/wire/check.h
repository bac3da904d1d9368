// Broken invariants of our own state end the process, in release builds too. What the world does wrong is an absl::Status.
//
//     MILLRACE_CHECK(sealed_) << "segment " << id_;
//     MILLRACE_CHECK_LE(applied, commit);  // prints both values
//
// A check that holds costs its comparison; no stream is built. Arguments are evaluated once.
#pragma once

#include <concepts>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

namespace millrace::internal {

// Collects the message and aborts when it is complete.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const std::string& condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Makes both branches of the macro's ?: void; & binds weaker than <<.
struct Voidify {
  void operator&(std::ostream&) {}
};

template <typename T>
concept PlainInteger =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
    !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

template <typename T>
void PrintOperand(std::ostream& out, const T& value) {
  if constexpr (requires { out << value; }) {
    out << value;
  } else if constexpr (std::is_enum_v<T>) {
    out << +static_cast<std::underlying_type_t<T>>(value);
  } else if constexpr (requires { out << value.value(); }) {
    out << value.value();
  } else {
    out << "(" << sizeof(T) << "-byte object)";
  }
}

template <typename A, typename B>
[[gnu::cold, gnu::noinline]] std::string DescribeOperands(const char* condition, const A& a, const B& b) {
  std::ostringstream out;
  out << condition << " (";
  PrintOperand(out, a);
  out << " vs. ";
  PrintOperand(out, b);
  out << ")";
  return std::move(out).str();
}

// Each returns nothing when the comparison holds, else its description. Integers compare by value whatever their signs.
#define MILLRACE_DEFINE_CHECK_OP(name, op, integer_compare)                                      \
  template <typename A, typename B>                                                              \
  inline std::optional<std::string> Check##name(const char* condition, const A& a, const B& b) { \
    bool holds;                                                                                  \
    if constexpr (PlainInteger<A> && PlainInteger<B>) {                                          \
      holds = integer_compare(a, b);                                                             \
    } else {                                                                                     \
      holds = static_cast<bool>(a op b);                                                         \
    }                                                                                            \
    if (holds) [[likely]]                                                                        \
      return std::nullopt;                                                                       \
    return DescribeOperands(condition, a, b);                                                    \
  }
MILLRACE_DEFINE_CHECK_OP(EQ, ==, std::cmp_equal)
MILLRACE_DEFINE_CHECK_OP(NE, !=, std::cmp_not_equal)
MILLRACE_DEFINE_CHECK_OP(LT, <, std::cmp_less)
MILLRACE_DEFINE_CHECK_OP(LE, <=, std::cmp_less_equal)
MILLRACE_DEFINE_CHECK_OP(GT, >, std::cmp_greater)
MILLRACE_DEFINE_CHECK_OP(GE, >=, std::cmp_greater_equal)
#undef MILLRACE_DEFINE_CHECK_OP

}  // namespace millrace::internal

#define MILLRACE_CHECK(condition)                   \
  __builtin_expect(static_cast<bool>(condition), 1) \
      ? static_cast<void>(0)                        \
      : ::millrace::internal::Voidify() & ::millrace::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

// A loop because it can declare a variable and take a << behind it; its body ends the process.
#define MILLRACE_CHECK_OP(name, op, a, b)                                              \
  while (auto failed = ::millrace::internal::Check##name(#a " " #op " " #b, (a), (b))) \
  ::millrace::internal::CheckFailure(__FILE__, __LINE__, *failed).stream()

#define MILLRACE_CHECK_EQ(a, b) MILLRACE_CHECK_OP(EQ, ==, a, b)
#define MILLRACE_CHECK_NE(a, b) MILLRACE_CHECK_OP(NE, !=, a, b)
#define MILLRACE_CHECK_LT(a, b) MILLRACE_CHECK_OP(LT, <, a, b)
#define MILLRACE_CHECK_LE(a, b) MILLRACE_CHECK_OP(LE, <=, a, b)
#define MILLRACE_CHECK_GT(a, b) MILLRACE_CHECK_OP(GT, >, a, b)
#define MILLRACE_CHECK_GE(a, b) MILLRACE_CHECK_OP(GE, >=, a, b)
