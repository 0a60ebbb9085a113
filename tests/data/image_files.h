#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/data/test_files.h"

namespace ghost {

inline std::string big_endian(std::uint32_t word) {
  return {static_cast<char>(word >> 24), static_cast<char>(word >> 16 & 255),
          static_cast<char>(word >> 8 & 255), static_cast<char>(word & 255)};
}

/// An IDX file of `count` images of height x width; pixel i of image n is (n + i) % 256.
inline std::string idx_images(std::uint32_t count, std::uint32_t height, std::uint32_t width) {
  std::string bytes =
      big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width);
  for (std::uint32_t image = 0; image < count; ++image) {
    for (std::uint32_t i = 0; i < height * width; ++i) {
      bytes += static_cast<char>((image + i) % 256);
    }
  }
  return bytes;
}

/// Labels n % 10.
inline std::string idx_labels(std::uint32_t count) {
  std::string bytes = big_endian(0x801) + big_endian(count);
  for (std::uint32_t image = 0; image < count; ++image) {
    bytes += static_cast<char>(image % 10);
  }
  return bytes;
}

/// CIFAR-10 records with labels n % 10; pixels of a channel are all 50 n, channel added.
inline std::string cifar_records(int count) {
  std::string bytes;
  for (int image = 0; image < count; ++image) {
    bytes += static_cast<char>(image % 10);
    for (int channel = 0; channel < 3; ++channel) {
      bytes += std::string(1024, static_cast<char>((50 * image + channel) % 256));
    }
  }
  return bytes;
}

}  // namespace ghost
