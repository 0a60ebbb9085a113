#include "data/image_batches.h"

#include <set>

#include "engine/core/error.h"
#include "tests/data/image_files.h"

namespace ghost {
namespace {

ImageSet small_set(const TestDir& dir, std::uint32_t count, const std::vector<double>& mean = {},
                   const std::vector<double>& std = {}) {
  dir.write("a-labels-idx1-ubyte", idx_labels(count));
  return ImageSet({dir.write("a-images-idx3-ubyte", idx_images(count, 2, 2))}, mean, std);
}

TEST_CASE("pixels are scaled and shifted by channel", "[data]") {
  const TestDir dir;
  std::vector<float> image(4);
  small_set(dir, 3).read(2, image);
  CHECK(image == std::vector<float>{2.0F / 255, 3.0F / 255, 4.0F / 255, 5.0F / 255});
  small_set(dir, 3, {0.5}, {0.25}).read(2, image);
  CHECK(image[1] == Approx((3.0 / 255 - 0.5) / 0.25));
  const auto records = dir.write("r.bin", cifar_records(3));
  const ImageSet colour({records}, {0.1, 0.2, 0.3}, {1, 1, 2});
  std::vector<float> pixels(3072);
  colour.read(1, pixels);
  CHECK(pixels[0] == Approx(50.0 / 255 - 0.1));
  CHECK(pixels[1024] == Approx(51.0 / 255 - 0.2));
  CHECK(pixels[2048] == Approx((52.0 / 255 - 0.3) / 2));
  CHECK_THROWS_WITH(ImageSet({records}, {0.1, 0.2}, {}),
                    records.string() +
                        ": 2 numbers of mean for images of 3 channels; expected "
                        "one a channel, or one");
}

TEST_CASE("an epoch has every image once, each epoch in another order", "[data]") {
  const TestDir dir;
  const ImageSet set = small_set(dir, 23);
  const ImageBatches batches(set, ImageBatches::Order::kShuffled, 4, /*seed=*/5);
  std::vector<std::vector<std::int64_t>> epochs;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t>& order = epochs.emplace_back();
    for (std::int64_t i = 0; i < 23; ++i) {
      order.push_back(batches.image_at(epoch * 23 + i));
    }
    CHECK(std::set(order.begin(), order.end()).size() == 23);
    CHECK(*std::max_element(order.begin(), order.end()) == 22);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  const ImageBatches other(set, ImageBatches::Order::kShuffled, 4, /*seed=*/6);
  bool differs = false;
  for (std::int64_t i = 0; i < 23; ++i) {
    differs = differs || other.image_at(i) != epochs[0][static_cast<std::size_t>(i)];
  }
  CHECK(differs);
  const ImageBatches in_order(set, ImageBatches::Order::kSequential, 4, /*seed=*/5);
  CHECK(in_order.image_at(24) == 1);
}

TEST_CASE("a batch is a function of its place, on any number of replicas", "[data]") {
  const TestDir dir;
  const ImageSet set = small_set(dir, 10);
  const ImageBatches whole(set, ImageBatches::Order::kShuffled, 4, /*seed=*/1);
  const ImageBatches half(set, ImageBatches::Order::kShuffled, 2, /*seed=*/1);
  std::vector<float> images(16);
  std::vector<std::int32_t> labels(4);
  for (std::int64_t step = 0; step < 6; ++step) {  // over the end of an epoch
    whole.fill({.step = step}, images, labels);
    std::vector<float> images_of_ranks(16);
    std::vector<std::int32_t> labels_of_ranks(4);
    for (std::int64_t rank = 0; rank < 2; ++rank) {
      half.fill({.step = step, .rank = rank, .world_size = 2},
                std::span(images_of_ranks).subspan(static_cast<std::size_t>(rank) * 8, 8),
                std::span(labels_of_ranks).subspan(static_cast<std::size_t>(rank) * 2, 2));
    }
    CHECK(images == images_of_ranks);
    CHECK(labels == labels_of_ranks);
    // Label and pixels belong to one image: image n has the pixel n first and the label n % 10.
    CHECK(labels[3] == static_cast<std::int32_t>(std::lround(images[12] * 255)) % 10);
  }
}

TEST_CASE("evaluation reads every image, the last batch short", "[data]") {
  const TestDir dir;
  const ImageSet set = small_set(dir, 10);
  const ImageEvalBatches batches(set, 4, /*max_batches=*/0);
  REQUIRE(batches.num_batches() == 3);
  CHECK(batches.rows(1) == 4);
  CHECK(batches.rows(2) == 2);
  std::vector<float> images(16);
  std::vector<std::int32_t> labels(4);
  batches.fill(2, images, labels);
  CHECK(labels[0] == 8);
  CHECK(labels[1] == 9);
  CHECK(ImageEvalBatches(set, 4, 2).num_batches() == 2);
}

}  // namespace
}  // namespace ghost
