#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace ghost {

/// What a file with images is, by its content.
enum class ImageFormat {
  kIdxImages,  // magic 0x00000803: bytes [N, height, width] (MNIST, Fashion-MNIST)
  kIdxLabels,  // magic 0x00000801: bytes [N]
  kCifar10,    // records of one label and 3 x 32 x 32 bytes, planes of red, green, blue
};

/// Labelled images as they are stored: bytes.
struct Images {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  // [N, channels, height, width]
  std::vector<std::uint8_t> labels;  // [N], 0 to kNumImageClasses - 1

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t pixels_per_image() const { return channels * height * width; }
};

/// All formats here have ten classes.
inline constexpr std::int64_t kNumImageClasses = 10;

/// The whole file, unpacked where it is gzip. Throws ghost::Error when it is damaged.
std::vector<std::uint8_t> read_unpacked(const std::filesystem::path& path);

/// The format of these bytes, unless they are of none. CIFAR-10 records have no magic number: their
/// size and every label must fit.
bool is_image_data(std::span<const std::uint8_t> bytes, ImageFormat* format);

/// Labels of an IDX file. Throws ghost::Error: magic number, size, a label above 9.
std::vector<std::uint8_t> read_idx_labels(const std::filesystem::path& path);

/// Where the labels of an IDX file with images lie: the same name with "labels" and "idx1", with or
/// without .gz. Throws ghost::Error when there is no such file.
std::filesystem::path idx_labels_path(const std::filesystem::path& images);

/// Appends the images of an IDX file (labels beside it) or a CIFAR-10 file, plain or .gz, to
/// `images`. Throws ghost::Error in one line: unknown format, truncated file, other sizes than the
/// images before, as many labels as there are not images, a label above 9.
void append_images(const std::filesystem::path& path, Images& images);

/// Channels, height and width of a file's images; reads no further than its header.
std::array<std::int64_t, 3> image_sizes(const std::filesystem::path& path);

/// Mean and standard deviation of a channel's pixels, in units of 255.
struct ChannelStatistics {
  double mean = 0;
  double std = 0;
};
std::vector<ChannelStatistics> channel_statistics(const Images& images);

}  // namespace ghost
