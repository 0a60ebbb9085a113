#include "data/image_file.h"

#include <zlib.h>

#include "data/info.h"
#include "engine/core/error.h"
#include "tests/data/image_files.h"

namespace ghost {
namespace {

std::string gzipped(const std::string& content) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, content.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_CASE("IDX images are read with the labels beside them", "[data]") {
  const TestDir dir;
  const auto plain = dir.write("a-images-idx3-ubyte", idx_images(12, 3, 2));
  dir.write("a-labels-idx1-ubyte", idx_labels(12));
  const auto packed = dir.write("b-images-idx3-ubyte.gz", gzipped(idx_images(4, 3, 2)));
  dir.write("b-labels-idx1-ubyte", idx_labels(4));  // a mixture of both does as well
  CHECK(image_sizes(plain) == std::array<std::int64_t, 3>{1, 3, 2});
  CHECK(image_sizes(packed) == std::array<std::int64_t, 3>{1, 3, 2});
  Images images;
  append_images(plain, images);
  append_images(packed, images);
  CHECK(images.size() == 16);
  CHECK((images.channels == 1 && images.height == 3 && images.width == 2));
  CHECK(images.pixels.size() == 16 * 6);
  CHECK(images.pixels[6 * 3 + 4] == 7);
  CHECK(images.labels[11] == 1);
  CHECK(images.labels[15] == 3);
}

TEST_CASE("CIFAR-10 records are read", "[data]") {
  const TestDir dir;
  const auto path = dir.write("data_batch_1.bin.gz", gzipped(cifar_records(3)));
  CHECK(image_sizes(path) == std::array<std::int64_t, 3>{3, 32, 32});
  Images images;
  append_images(path, images);
  CHECK(images.labels == std::vector<std::uint8_t>{0, 1, 2});
  CHECK(images.pixels[3072 + 1024] == 51);
  CHECK(images.pixels[2 * 3072 + 2 * 1024] == 102);
  const auto statistics = channel_statistics(images);
  REQUIRE(statistics.size() == 3);
  CHECK(statistics[1].mean == Approx(51.0 / 255));
  CHECK(statistics[1].std == Approx(50 * std::sqrt(2.0 / 3) / 255));
}

TEST_CASE("files of images that are damaged say how", "[data]") {
  const TestDir dir;
  const auto refused = [&](const std::string& name, const std::string& content,
                           const std::string& message) {
    const auto path = dir.write(name, content);
    Images images;
    CHECK_THROWS_WITH(append_images(path, images), path.string() + message);
  };
  dir.write("x-labels-idx1-ubyte", idx_labels(5));
  refused("x-images-idx3-ubyte", "abc", ": 3 bytes; expected an IDX header of 16 bytes");
  refused("x-images-idx3-ubyte", idx_labels(20),
          ": magic number 0x00000801; expected 0x00000803 (IDX images)");
  refused("x-images-idx3-ubyte", idx_images(5, 2, 2).substr(0, 30),
          ": 14 bytes of pixels; expected 5 x 2 x 2 as the header says");
  refused("lonely-images-idx3-ubyte", idx_images(5, 2, 2),
          ": no labels beside it; expected " + (dir / "lonely-labels-idx1-ubyte").string());
  refused("data_batch_1.bin", std::string(5000, '\0'),
          ": 5000 bytes; expected a multiple of 3073, a label and 3 x 32 x 32 pixels a record");
  std::string bad = cifar_records(2);
  bad[3073] = 12;
  refused("data_batch_1.bin", bad, ": label 12 of image 1; expected 0 to 9");
  Images images;
  append_images(dir.write("data_batch_1.bin", cifar_records(2)), images);
  const auto other = dir.write("x-images-idx3-ubyte", idx_images(5, 2, 2));
  CHECK_THROWS_WITH(
      append_images(other, images),
      other.string() + ": images of 1 x 2 x 2; expected 3 x 32 x 32 as in the files before");
}

TEST_CASE("labels that do not fit say how", "[data]") {
  const TestDir dir;
  const auto images_path = dir.write("x-images-idx3-ubyte", idx_images(5, 2, 2));
  const auto refused = [&](const std::string& content, const std::string& message) {
    const auto path = dir.write("x-labels-idx1-ubyte", content);
    Images images;
    CHECK_THROWS_WITH(append_images(images_path, images), path.string() + message);
  };
  refused(idx_labels(4), ": 4 labels for 5 images of x-images-idx3-ubyte; expected as many");
  refused(idx_labels(5).substr(0, 10), ": 2 bytes of labels; expected 5 as the header says");
  refused(idx_images(1, 2, 2), ": magic number 0x00000803; expected 0x00000801 (IDX labels)");
  std::string bad = idx_labels(5);
  bad.back() = 10;
  refused(bad, ": label 10 of image 4; expected 0 to 9");
}

TEST_CASE("a gzip file of images that is cut short is refused", "[data]") {
  const TestDir dir;
  const std::string packed = gzipped(cifar_records(3));
  const auto path = dir.write("a.bin.gz", packed.substr(0, packed.size() / 2));
  Images images;
  CHECK_THROWS_AS(append_images(path, images), Error);
}

TEST_CASE("files of images are described", "[data]") {
  const TestDir dir;
  const auto images = dir.write("a-images-idx3-ubyte", idx_images(12, 2, 2));
  const auto labels = dir.write("a-labels-idx1-ubyte", idx_labels(12));
  const auto records = dir.write("r.bin", cifar_records(3));
  CHECK(describe_data_file(images) ==
        fmt::format("file: {}\nbytes: 64\nformat: IDX images\nlabels in: {}\nimages: 12\n"
                    "channels x height x width: 1 x 2 x 2\n"
                    "images of label 0 to 9: 2 2 1 1 1 1 1 1 1 1\n"
                    "mean of a channel, of 1: 0.0275\ndeviation of a channel: 0.0142\n",
                    images.string(), labels.string()));
  CHECK(describe_data_file(labels) ==
        fmt::format("file: {}\nbytes: 20\nformat: IDX labels\nlabels: 12\n"
                    "images of label 0 to 9: 2 2 1 1 1 1 1 1 1 1\n",
                    labels.string()));
  CHECK(describe_data_file(records).find(
            "format: CIFAR-10 records\nimages: 3\nchannels x height x width: 3 x 32 x 32\n") !=
        std::string::npos);
}

}  // namespace
}  // namespace ghost
