#include "engine/io/sha256.h"

#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "engine/core/error.h"
#include "engine/io/file.h"

namespace ghost {
namespace {

EVP_MD_CTX* new_context() {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  GHOST_CHECK(context != nullptr, "sha256: out of memory");
  return context;
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(new_context()) {
  GHOST_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
              "sha256: OpenSSL offers no SHA-256");
}

void Sha256::update(std::span<const std::byte> bytes) {
  GHOST_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1,
              "sha256: OpenSSL failed to digest {} bytes", bytes.size());
}

std::string Sha256::hex() const {
  // OpenSSL ends a context when it gives the digest, so a copy is ended.
  const std::unique_ptr<EVP_MD_CTX, Free> copy(new_context());
  std::array<unsigned char, 32> digest{};
  GHOST_CHECK(EVP_MD_CTX_copy_ex(copy.get(), context_.get()) == 1 &&
                  EVP_DigestFinal_ex(copy.get(), digest.data(), nullptr) == 1,
              "sha256: OpenSSL failed to finish the digest");
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 sha;
  sha.update(bytes);
  return sha.hex();
}

std::string sha256_file(const std::filesystem::path& path) {
  return sha256_hex(MappedFile(path).bytes());
}

}  // namespace ghost
