// A sorted map whose copies share what they have in common: copying takes a pointer for each hundred entries, and a change copies
// the few entries around it. So a new version of a large map costs what changed.
//
//     SharedMap<std::string, int> next = now;      // `now` stays as it is
//     next.Set("a", 1);
//     if (const int* a = next.Find("a")) ...
//     for (const auto& [key, value] : next) ...    // in the order of keys
//
// Threads: as a value's; copies of one map may be used by different threads at the same time. Pointers and iterators hold until the
// map they come from is changed or gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace millrace::server {

template <typename Key, typename Value>
class SharedMap {
 public:
  using Entry = std::pair<Key, Value>;

 private:
  static constexpr size_t kChunkMax = 128;

  using Chunk = std::vector<Entry>;  // sorted, never empty
  using Chunks = std::vector<std::shared_ptr<Chunk>>;

 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Entry;
    using difference_type = std::ptrdiff_t;
    using pointer = const Entry*;
    using reference = const Entry&;

    Iterator() = default;
    reference operator*() const { return (**chunk_)[at_]; }
    pointer operator->() const { return &**this; }
    Iterator& operator++() {
      if (++at_ == (*chunk_)->size()) {
        ++chunk_;
        at_ = 0;
      }
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator&) const = default;

   private:
    friend class SharedMap;
    Iterator(typename Chunks::const_iterator chunk, size_t at) : chunk_(chunk), at_(at) {}

    typename Chunks::const_iterator chunk_;
    size_t at_ = 0;
  };

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Iterator begin() const { return {chunks_.begin(), 0}; }
  Iterator end() const { return {chunks_.end(), 0}; }

  // nullptr: not there.
  const Value* Find(const Key& key) const {
    const size_t c = ChunkOf(key);
    if (c == chunks_.size()) return nullptr;
    const auto entry = LowerBound(*chunks_[c], key);
    return entry == chunks_[c]->end() || key < entry->first ? nullptr : &entry->second;
  }

  // Adds, or replaces.
  void Set(Key key, Value value) {
    const bool behind_all = empty() || chunks_.back()->back().first < key;
    if (empty()) chunks_.push_back(NewChunk());
    const size_t c = behind_all ? chunks_.size() - 1 : ChunkOf(key);
    Chunk& chunk = Own(c);
    const auto entry = LowerBound(chunk, key);
    if (entry != chunk.end() && !(key < entry->first)) {
      entry->second = std::move(value);
      return;
    }
    chunk.emplace(entry, std::move(key), std::move(value));
    ++size_;
    if (chunk.size() > kChunkMax) Split(c, behind_all);
  }

  // Whether it was there.
  bool Erase(const Key& key) {
    if (Find(key) == nullptr) return false;
    const size_t c = ChunkOf(key);
    Chunk& chunk = Own(c);
    chunk.erase(LowerBound(chunk, key));
    --size_;
    if (chunk.empty()) {
      chunks_.erase(chunks_.begin() + c);
    } else if (c + 1 < chunks_.size() && chunk.size() + chunks_[c + 1]->size() < kChunkMax / 2) {
      chunk.insert(chunk.end(), chunks_[c + 1]->begin(), chunks_[c + 1]->end());
      chunks_.erase(chunks_.begin() + c + 1);
    }
    return true;
  }

  bool operator==(const SharedMap& other) const {
    return size_ == other.size_ && std::equal(begin(), end(), other.begin());
  }

 private:
  static std::shared_ptr<Chunk> NewChunk() {
    auto chunk = std::make_shared<Chunk>();
    chunk->reserve(kChunkMax + 1);
    return chunk;
  }

  template <typename AnyChunk>
  static auto LowerBound(AnyChunk& chunk, const Key& key) {
    return std::lower_bound(chunk.begin(), chunk.end(), key,
                            [](const Entry& entry, const Key& k) { return entry.first < k; });
  }

  // The chunk that has the key if any has; chunks_.size() when it would lie behind all.
  size_t ChunkOf(const Key& key) const {
    return std::lower_bound(chunks_.begin(), chunks_.end(), key,
                            [](const auto& chunk, const Key& k) { return chunk->back().first < k; }) -
           chunks_.begin();
  }

  // For a change: a copy if another map has it, too.
  Chunk& Own(size_t c) {
    if (chunks_[c].use_count() > 1) {
      auto copy = NewChunk();
      copy->assign(chunks_[c]->begin(), chunks_[c]->end());
      chunks_[c] = std::move(copy);
    } else {
      std::atomic_thread_fence(std::memory_order_acquire);  // whoever had it, too, has read it before
    }
    return *chunks_[c];
  }

  // What is added in the order of keys leaves full chunks behind.
  void Split(size_t c, bool behind_all) {
    Chunk& chunk = *chunks_[c];
    const auto middle = behind_all ? chunk.end() - 1 : chunk.begin() + static_cast<std::ptrdiff_t>(chunk.size() / 2);
    auto upper = NewChunk();
    upper->assign(std::make_move_iterator(middle), std::make_move_iterator(chunk.end()));
    chunk.erase(middle, chunk.end());
    chunks_.insert(chunks_.begin() + c + 1, std::move(upper));
  }

  Chunks chunks_;  // in the order of their keys
  size_t size_ = 0;
};

}  // namespace millrace::server
