#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

struct evp_md_ctx_st;

namespace ghost {

/// SHA-256 of a stream of bytes (FIPS 180-4).
class Sha256 {
 public:
  Sha256();

  void update(std::span<const std::byte> bytes);

  /// The digest of everything so far as 64 lower-case hex digits; more bytes may follow.
  std::string hex() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// Digest of a buffer, as Sha256::hex gives it.
std::string sha256_hex(std::span<const std::byte> bytes);

/// Digest of a file. Throws ghost::Error when it cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace ghost
