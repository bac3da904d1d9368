#include "server/peer_secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "proto/wire/check.h"
#include "raft/fixed_int.h"

namespace millrace::server {
namespace {

void Put(std::string& out, const internal::v1::ReplicaId& replica) {
  raft::PutInt<int64_t>(out, replica.broker_id());
  raft::PutInt<uint64_t>(out, replica.incarnation());
}

}  // namespace

std::string PeerSecret::ProofOf(const internal::v1::Hello& hello, std::string_view nonce) const {
  std::string statement = "millrace peer link 1";
  statement += nonce;
  Put(statement, hello.from());
  Put(statement, hello.to());
  statement += hello.cluster_id();
  statement += hello.address();
  return Sign(statement);
}

std::string PeerSecret::ProofOf(std::string_view purpose, std::initializer_list<std::string_view> parts) const {
  std::string statement(purpose);
  for (std::string_view part : parts) {
    raft::PutInt<uint32_t>(statement, static_cast<uint32_t>(part.size()));
    statement += part;
  }
  return Sign(statement);
}

bool PeerSecret::Accepts(std::string_view proof, std::string_view expected) const {
  return empty() ||
         (proof.size() == expected.size() && CRYPTO_memcmp(proof.data(), expected.data(), proof.size()) == 0);
}

std::string PeerSecret::Sign(std::string_view statement) const {
  if (empty()) return "";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  MILLRACE_CHECK(HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
                      reinterpret_cast<const unsigned char*>(statement.data()), statement.size(), digest, &size));
  return std::string(reinterpret_cast<const char*>(digest), size);
}

}  // namespace millrace::server
