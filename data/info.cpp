#include "data/info.h"

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include "data/image_file.h"
#include "data/text_reader.h"
#include "data/token_shard.h"
#include "data/tokenizer_file.h"
#include "data/utf8.h"
#include "engine/core/error.h"
#include "engine/io/safetensors.h"

namespace ghost {
namespace {

void add_line(std::string& out, std::string_view name, const std::string& value) {
  out += fmt::format("{}: {}\n", name, value);
}

/// What vocabulary a largest token suggests.
std::string guess_vocab(std::int64_t max_token) {
  if (max_token < 256) {
    return "bytes or characters";
  }
  if (max_token <= 50256) {
    return "50257 (GPT-2)";
  }
  if (max_token < 50304) {
    return "50304 (GPT-2, padded)";
  }
  return max_token < 128256 ? "128256 (Llama 3)" : fmt::format("at least {}", max_token + 1);
}

void describe_shard(const std::filesystem::path& path, std::string& out) {
  const TokenShard shard(path, has_shard_magic(path) ? ShardFormat::kLlmc : ShardFormat::kNanogpt);
  const bool is_llmc = shard.format() == ShardFormat::kLlmc;
  add_line(out, "format",
           is_llmc ? "token shard (llm.c)" : "raw uint16 tokens (nanoGPT; there is no header)");
  add_line(out, "tokens", fmt::format("{}", shard.num_tokens()));
  add_line(out, "token type", shard.bytes_per_token() == 2 ? "uint16" : "uint32");
  add_line(out, "largest token", fmt::format("{}", shard.max_token()));
  add_line(out, "vocabulary", guess_vocab(shard.max_token()) + ", by the largest token");
  std::vector<std::int32_t> first(
      static_cast<std::size_t>(std::min<std::int64_t>(shard.num_tokens(), 12)));
  shard.read(0, first);
  add_line(out, "first tokens", fmt::format("{}", fmt::join(first, " ")));
}

void describe_text(const std::filesystem::path& path, std::string& out) {
  const TextFormat format = text_format_of(path);
  TextReader reader(path, format);
  std::int64_t documents = 0;
  std::int64_t characters = 0;
  std::int64_t bytes = 0;
  bool is_valid = true;
  for (std::string document; reader.next(document); ++documents) {
    characters += count_code_points(document);
    bytes += static_cast<std::int64_t>(document.size());
    is_valid = is_valid && valid_utf8_prefix(document) == document.size();
  }
  add_line(out, "format", format == TextFormat::kPlain ? "plain text" : "JSON lines");
  add_line(out, "documents", fmt::format("{}", documents));
  add_line(out, "characters", fmt::format("{}", characters));
  add_line(out, "bytes of text", fmt::format("{}", bytes));
  add_line(out, "encoding", is_valid ? "UTF-8" : "not UTF-8 throughout");
}

void describe_tokenizer(const std::filesystem::path& path, std::string& out) {
  const auto tokenizer = load_tokenizer(path);
  add_line(out, "format", "tokenizer");
  add_line(out, "kind", std::string(tokenizer_kind_name(tokenizer->kind())));
  add_line(out, "vocabulary", fmt::format("{}", tokenizer->vocab_size()));
  const auto mark = tokenizer->end_of_text();
  add_line(out, "end of text", mark ? fmt::format("{}", *mark) : "none");
}

void describe_safetensors(const std::filesystem::path& path, std::string& out) {
  const SafetensorsFile file(path);
  std::int64_t parameters = 0;
  std::map<std::string, int> dtypes;
  for (const TensorView& tensor : file.tensors()) {
    std::int64_t count = 1;
    for (const std::int64_t size : tensor.shape) {
      count *= size;
    }
    parameters += count;
    ++dtypes[tensor.dtype];
  }
  std::vector<std::string> parts;
  for (const auto& [dtype, count] : dtypes) {
    parts.push_back(fmt::format("{} {}", count, dtype));
  }
  add_line(out, "format", "safetensors");
  add_line(out, "tensors", fmt::format("{} ({})", file.tensors().size(), fmt::join(parts, ", ")));
  add_line(out, "parameters", fmt::format("{}", parameters));
}

std::string counts_by_label(std::span<const std::uint8_t> labels) {
  std::vector<std::int64_t> counts(kNumImageClasses);
  for (const std::uint8_t label : labels) {
    ++counts[label];
  }
  return fmt::format("{}", fmt::join(counts, " "));
}

void describe_images(const std::filesystem::path& path, ImageFormat format, std::string& out) {
  if (format == ImageFormat::kIdxLabels) {
    const auto labels = read_idx_labels(path);
    add_line(out, "format", "IDX labels");
    add_line(out, "labels", fmt::format("{}", labels.size()));
    add_line(out, "images of label 0 to 9", counts_by_label(labels));
    return;
  }
  Images images;
  append_images(path, images);
  add_line(out, "format", format == ImageFormat::kIdxImages ? "IDX images" : "CIFAR-10 records");
  if (format == ImageFormat::kIdxImages) {
    add_line(out, "labels in", idx_labels_path(path).string());
  }
  add_line(out, "images", fmt::format("{}", images.size()));
  add_line(out, "channels x height x width",
           fmt::format("{} x {} x {}", images.channels, images.height, images.width));
  add_line(out, "images of label 0 to 9", counts_by_label(images.labels));
  std::vector<std::string> means;
  std::vector<std::string> deviations;
  for (const ChannelStatistics& channel : channel_statistics(images)) {
    means.push_back(fmt::format("{:.4f}", channel.mean));
    deviations.push_back(fmt::format("{:.4f}", channel.std));
  }
  add_line(out, "mean of a channel, of 1", fmt::format("{}", fmt::join(means, " ")));
  add_line(out, "deviation of a channel", fmt::format("{}", fmt::join(deviations, " ")));
}

/// Whether the file holds images; by its content, as raw tokens end in .bin too.
bool holds_images(const std::filesystem::path& path, ImageFormat* format) {
  const auto name = path.extension() == ".gz" ? path.stem() : path.filename();
  const bool may_be = name.extension() == ".bin" || name.string().find("idx") != std::string::npos;
  return may_be && !has_shard_magic(path) && is_image_data(read_unpacked(path), format);
}

}  // namespace

std::string describe_data_file(const std::filesystem::path& path) {
  GHOST_CHECK(std::filesystem::exists(path), "cannot read {}: no such file", path.string());
  GHOST_CHECK(std::filesystem::is_regular_file(path), "cannot read {}: not a regular file",
              path.string());
  std::string out;
  add_line(out, "file", path.string());
  add_line(out, "bytes", fmt::format("{}", std::filesystem::file_size(path)));
  const auto extension = path.extension();
  ImageFormat images{};
  if (holds_images(path, &images)) {
    describe_images(path, images, out);
  } else if (extension == ".bin" || has_shard_magic(path)) {
    describe_shard(path, out);
  } else if (extension == ".safetensors") {
    describe_safetensors(path, out);
  } else if (extension == ".json") {
    describe_tokenizer(path, out);
  } else {
    describe_text(path, out);
  }
  return out;
}

}  // namespace ghost
