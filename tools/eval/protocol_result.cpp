#include "tools/eval/protocol_result.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/io/file.h"

namespace ghost {
namespace {

using Json = nlohmann::ordered_json;  // keeps keys in the order in which people read them

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

double number_at(const Json& json, const char* key) {
  const Json& found = json.at(key);
  return found.is_null() ? std::numeric_limits<double>::quiet_NaN() : found.get<double>();
}

Json json_of(const Estimate& estimate) {
  return {{"nats", number(estimate.mean)}, {"standard_error", number(estimate.standard_error)}};
}

Estimate estimate_of(const Json& json) {
  return {.mean = number_at(json, "nats"), .standard_error = number_at(json, "standard_error")};
}

Json json_of(const ProtocolScore& score) {
  Json json = {{"label", score.label}};
  json.update(json_of(score.nats));
  json["tokens"] = score.tokens;
  if (score.baseline.has_value()) {
    json["baseline"] = json_of(*score.baseline);
  }
  if (score.difference.has_value()) {
    json["difference"] = json_of(*score.difference);
  }
  return json;
}

ProtocolScore score_of(const std::string& name, const Json& json) {
  ProtocolScore score{.name = name,
                      .label = json.at("label"),
                      .nats = estimate_of(json),
                      .tokens = json.at("tokens")};
  if (json.contains("baseline")) {
    score.baseline = estimate_of(json.at("baseline"));
  }
  if (json.contains("difference")) {
    score.difference = estimate_of(json.at("difference"));
  }
  return score;
}

Json json_of(const PositionCurve& curve) {
  Json values = Json::array();
  for (const double nats : curve.nats) {
    values.push_back(number(nats));
  }
  return values;
}

PositionCurve curve_of(const std::string& name, const Json& json) {
  PositionCurve curve{.name = name, .nats = {}};
  for (const Json& value : json) {
    curve.nats.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN()
                                         : value.get<double>());
  }
  return curve;
}

ProtocolResult result_of(const Json& json) {
  ProtocolResult result{.weights = json.at("weights"),
                        .architecture = json.at("architecture"),
                        .variant = json.at("variant"),
                        .ablation = json.at("ablation"),
                        .dtype = json.at("dtype"),
                        .baseline = json.at("baseline"),
                        .step = json.at("step"),
                        .seq_len = json.at("seq_len"),
                        .windows = json.at("windows"),
                        .first_scored = json.at("first_scored"),
                        .refresh = json.at("refresh"),
                        .sees_future = json.at("sees_future"),
                        .scores = {},
                        .curves = {},
                        .flip = {}};
  for (const auto& [name, score] : json.at("scores").items()) {
    result.scores.push_back(score_of(name, score));
  }
  if (json.contains("pos")) {
    for (const auto& [name, curve] : json.at("pos").items()) {
      result.curves.push_back(curve_of(name, curve));
    }
  }
  if (json.contains("flip")) {
    const Json& flip = json.at("flip");
    result.flip = {.largest = number_at(flip, "largest"),
                   .changed = flip.at("changed"),
                   .position = flip.at("position"),
                   .num_tokens = flip.at("tokens"),
                   .num_windows = flip.at("windows")};
  }
  return result;
}

}  // namespace

nlohmann::ordered_json to_json(const ProtocolResult& result) {
  Json json = {{"weights", result.weights},
               {"step", result.step},
               {"architecture", result.architecture},
               {"variant", result.variant},
               {"ablation", result.ablation},
               {"sees_future", result.sees_future},
               {"dtype", result.dtype},
               {"baseline", result.baseline},
               {"seq_len", result.seq_len},
               {"windows", result.windows},
               {"first_scored", result.first_scored},
               {"refresh", result.refresh},
               {"scores", Json::object()}};
  for (const ProtocolScore& score : result.scores) {
    json["scores"][score.name] = json_of(score);
  }
  for (const PositionCurve& curve : result.curves) {
    json["pos"][curve.name] = json_of(curve);
  }
  if (result.flip.has_value()) {
    json["flip"] = {{"largest", number(result.flip->largest)},
                    {"changed", result.flip->changed},
                    {"position", result.flip->position},
                    {"tokens", result.flip->num_tokens},
                    {"windows", result.flip->num_windows}};
  }
  return json;
}

ProtocolResult read_protocol(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  try {
    return result_of(Json::parse(text));
  } catch (const Json::exception& failure) {
    fail("{}: not what `ghostgrad eval --protocol` writes ({})", file.string(), failure.what());
  }
}

}  // namespace ghost
