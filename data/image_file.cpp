#include "data/image_file.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "data/text_reader.h"
#include "engine/core/error.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kImagesMagic = 0x00000803;  // unsigned bytes in three dimensions
constexpr std::uint32_t kLabelsMagic = 0x00000801;  // in one
constexpr std::size_t kImagesHeader = 16;
constexpr std::size_t kLabelsHeader = 8;
constexpr std::int64_t kCifarSide = 32;
constexpr std::size_t kCifarRecord = 1 + 3 * kCifarSide * kCifarSide;

/// Big-endian, as all numbers of IDX.
std::uint32_t word_at(std::span<const std::uint8_t> bytes, std::size_t offset) {
  return std::uint32_t{bytes[offset]} << 24 | std::uint32_t{bytes[offset + 1]} << 16 |
         std::uint32_t{bytes[offset + 2]} << 8 | std::uint32_t{bytes[offset + 3]};
}

void check_magic(const fs::path& path, const Bytes& bytes, std::uint32_t expected,
                 std::size_t header) {
  GHOST_CHECK(bytes.size() >= header, "{}: {} bytes; expected an IDX header of {} bytes",
              path.string(), bytes.size(), header);
  const std::uint32_t magic = word_at(bytes, 0);
  GHOST_CHECK(magic == expected, "{}: magic number {:#010x}; expected {:#010x} ({})", path.string(),
              magic, expected, expected == kImagesMagic ? "IDX images" : "IDX labels");
}

void check_labels(const fs::path& path, std::span<const std::uint8_t> labels) {
  const auto bad = std::find_if(labels.begin(), labels.end(), [](std::uint8_t label) {
    return static_cast<std::int64_t>(label) >= kNumImageClasses;
  });
  GHOST_CHECK(bad == labels.end(), "{}: label {} of image {}; expected 0 to {}", path.string(),
              *bad, bad - labels.begin(), kNumImageClasses - 1);
}

void check_sizes(const fs::path& path, const Images& images, std::int64_t channels,
                 std::int64_t height, std::int64_t width) {
  const bool is_same = images.labels.empty() || (images.channels == channels &&
                                                 images.height == height && images.width == width);
  GHOST_CHECK(is_same, "{}: images of {} x {} x {}; expected {} x {} x {} as in the files before",
              path.string(), channels, height, width, images.channels, images.height, images.width);
}

void append_idx(const fs::path& path, const Bytes& bytes, Images& images) {
  check_magic(path, bytes, kImagesMagic, kImagesHeader);
  const std::int64_t count = word_at(bytes, 4);
  const std::int64_t height = word_at(bytes, 8);
  const std::int64_t width = word_at(bytes, 12);
  const auto found = static_cast<std::int64_t>(bytes.size() - kImagesHeader);
  GHOST_CHECK(height > 0 && width > 0 && found == count * height * width,
              "{}: {} bytes of pixels; expected {} x {} x {} as the header says", path.string(),
              found, count, height, width);
  check_sizes(path, images, 1, height, width);
  const fs::path labels_path = idx_labels_path(path);
  const Bytes labels = read_idx_labels(labels_path);
  GHOST_CHECK(static_cast<std::int64_t>(labels.size()) == count,
              "{}: {} labels for {} images of {}; expected as many", labels_path.string(),
              labels.size(), count, path.filename().string());
  images.channels = 1;
  images.height = height;
  images.width = width;
  images.pixels.insert(images.pixels.end(), bytes.begin() + kImagesHeader, bytes.end());
  images.labels.insert(images.labels.end(), labels.begin(), labels.end());
}

void append_cifar(const fs::path& path, const Bytes& bytes, Images& images) {
  GHOST_CHECK(!bytes.empty() && bytes.size() % kCifarRecord == 0,
              "{}: {} bytes; expected a multiple of {}, a label and 3 x 32 x 32 pixels a record",
              path.string(), bytes.size(), kCifarRecord);
  check_sizes(path, images, 3, kCifarSide, kCifarSide);
  Bytes labels;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kCifarRecord) {
    labels.push_back(bytes[begin]);
  }
  check_labels(path, labels);
  images.channels = 3;
  images.height = kCifarSide;
  images.width = kCifarSide;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kCifarRecord) {
    const auto record = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
    images.pixels.insert(images.pixels.end(), record + 1,
                         record + static_cast<std::ptrdiff_t>(kCifarRecord));
  }
  images.labels.insert(images.labels.end(), labels.begin(), labels.end());
}

/// By name, as a CIFAR-10 file begins with nothing that tells.
bool has_idx_name(const fs::path& path) {
  return path.filename().string().find("idx") != std::string::npos;
}

void replace_once(std::string& text, std::string_view from, std::string_view to) {
  if (const auto at = text.find(from); at != std::string::npos) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

Bytes read_unpacked(const fs::path& path) {
  ByteReader reader(path);
  std::string text;
  while (reader.read(text)) {
  }
  return {text.begin(), text.end()};
}

bool is_image_data(std::span<const std::uint8_t> bytes, ImageFormat* format) {
  if (bytes.size() >= kLabelsHeader && word_at(bytes, 0) == kLabelsMagic) {
    *format = ImageFormat::kIdxLabels;
    return true;
  }
  if (bytes.size() >= kImagesHeader && word_at(bytes, 0) == kImagesMagic) {
    *format = ImageFormat::kIdxImages;
    return true;
  }
  bool fits = !bytes.empty() && bytes.size() % kCifarRecord == 0;
  for (std::size_t begin = 0; fits && begin < bytes.size(); begin += kCifarRecord) {
    fits = static_cast<std::int64_t>(bytes[begin]) < kNumImageClasses;
  }
  *format = ImageFormat::kCifar10;
  return fits;
}

Bytes read_idx_labels(const fs::path& path) {
  Bytes bytes = read_unpacked(path);
  check_magic(path, bytes, kLabelsMagic, kLabelsHeader);
  const std::size_t count = word_at(bytes, 4);
  GHOST_CHECK(bytes.size() - kLabelsHeader == count,
              "{}: {} bytes of labels; expected {} as the header says", path.string(),
              bytes.size() - kLabelsHeader, count);
  bytes.erase(bytes.begin(), bytes.begin() + kLabelsHeader);
  check_labels(path, bytes);
  return bytes;
}

fs::path idx_labels_path(const fs::path& images) {
  std::string name = images.filename().string();
  replace_once(name, "images", "labels");
  replace_once(name, "idx3", "idx1");
  const fs::path same = images.parent_path() / name;
  fs::path other = same;
  if (same.extension() == ".gz") {
    other.replace_extension();
  } else {
    other += ".gz";
  }
  for (const fs::path& path : {same, other}) {
    if (name != images.filename() && fs::exists(path)) {
      return path;
    }
  }
  fail("{}: no labels beside it; expected {}", images.string(), same.string());
}

void append_images(const fs::path& path, Images& images) {
  const Bytes bytes = read_unpacked(path);
  ImageFormat format{};
  if (has_idx_name(path) || (is_image_data(bytes, &format) && format != ImageFormat::kCifar10)) {
    append_idx(path, bytes, images);
  } else {
    append_cifar(path, bytes, images);
  }
}

std::array<std::int64_t, 3> image_sizes(const fs::path& path) {
  ByteReader reader(path);
  std::string text;
  reader.read(text);
  const Bytes head(text.begin(), text.end());
  const bool is_idx =
      has_idx_name(path) || (head.size() >= kImagesHeader && word_at(head, 0) == kImagesMagic);
  if (!is_idx) {
    return {3, kCifarSide, kCifarSide};
  }
  check_magic(path, head, kImagesMagic, kImagesHeader);
  return {1, word_at(head, 8), word_at(head, 12)};
}

std::vector<ChannelStatistics> channel_statistics(const Images& images) {
  std::vector<ChannelStatistics> statistics;
  const std::int64_t plane = images.height * images.width;
  for (std::int64_t channel = 0; channel < images.channels; ++channel) {
    std::int64_t sum = 0;
    std::int64_t squares = 0;
    for (std::int64_t image = 0; image < images.size(); ++image) {
      const std::uint8_t* pixels =
          images.pixels.data() + (image * images.channels + channel) * plane;
      for (std::int64_t i = 0; i < plane; ++i) {
        sum += pixels[i];
        squares += std::int64_t{pixels[i]} * pixels[i];
      }
    }
    const double count = static_cast<double>(images.size() * plane);
    const double mean = static_cast<double>(sum) / count;
    const double variance = static_cast<double>(squares) / count - mean * mean;
    statistics.push_back({.mean = mean / 255, .std = std::sqrt(std::max(0.0, variance)) / 255});
  }
  return statistics;
}

}  // namespace ghost
