// The secret that the brokers of a cluster share, and the proofs of knowing it (peer.proto has what each covers).
//
//     PeerSecret secret(config.peer_secret);
//     hello.set_proof(secret.ProofOf(hello, nonce));
//     if (!secret.Accepts(hello.proof(), secret.ProofOf(hello, nonce))) refuse();
//
// Without a secret proofs are empty and everybody is believed. Values; the const functions may be called by any thread.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "millrace/internal/v1/peer.pb.h"

namespace millrace::server {

class PeerSecret {
 public:
  PeerSecret() = default;
  explicit PeerSecret(std::string key) : key_(std::move(key)) {}

  bool empty() const { return key_.empty(); }

  std::string ProofOf(const internal::v1::Hello& hello, std::string_view nonce) const;
  // `purpose` tells one kind of statement from all others.
  std::string ProofOf(std::string_view purpose, std::initializer_list<std::string_view> parts) const;

  // Takes the same time wherever the two differ.
  bool Accepts(std::string_view proof, std::string_view expected) const;

 private:
  std::string Sign(std::string_view statement) const;

  std::string key_;
};

}  // namespace millrace::server
