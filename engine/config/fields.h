#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/section.h"
#include "engine/config/values.h"

// Config structs describe themselves once:
//
//   struct ScheduleConfig {
//     std::int64_t warmup_steps = 200;
//
//     template <class Visit>
//     void each_field(Visit&& visit) {
//       visit("warmup_steps", warmup_steps, "linear from 0 to peak, >= 0");
//     }
//     void validate(const std::string& prefix) const;  // optional; check_range.h
//   };
//
// Members: bool, std::int64_t, double, std::string, enum classes with EnumNames, std::optional and
// std::vector of these, nested config structs and std::vector of config structs. `prefix` is "" at
// the top and "schedule." in a section of that name, so a key in a message is prefix + "peak".
//
// Where the fields depend on what a file says (a `type` that has keys of its own), the struct of
// the whole file has `void choose_fields(const ConfigNode&)`. It is called before the fields are
// listed, and leaves everything that is wrong to the reader.

namespace ghost {

namespace internal {

struct AnyVisitor {
  template <class T>
  void operator()(std::string_view /*key*/, T& /*member*/, std::string_view /*doc*/) const {}
};

template <class T>
struct ElementOf {
  using type = void;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
};

}  // namespace internal

template <class C>
concept ConfigStruct = requires(C& config, internal::AnyVisitor visit) {
  config.each_field(visit);
};

template <class C>
Section bind_section(C& config);

namespace internal {

/// The visitor that binds members to fields. All the work is done by the callers of Section.
struct Binder {
  std::vector<Field>& fields;

  template <class T>
  void operator()(std::string_view key, T& member, std::string_view doc) const {
    using Element = typename ElementOf<T>::type;
    Field field{.key = std::string(key), .doc = std::string(doc), .content = {}};
    if constexpr (ConfigStruct<T>) {
      field.content = bind_section(member);
    } else if constexpr (ConfigStruct<Element>) {
      auto element = std::make_shared<Element>();
      ListField list{.element = bind_section(*element), .reset = {}, .elements = {}};
      list.element.owner = std::move(element);
      list.reset = [&member](std::size_t size) { member.assign(size, Element{}); };
      list.elements = [&member] {
        std::vector<Section> sections;
        for (Element& item : member) {
          sections.push_back(bind_section(item));
        }
        return sections;
      };
      field.content = std::move(list);
    } else {
      field.content =
          ValueField{.type = TypeText<T>::get(),
                     .read = [&member](const ConfigNode& node,
                                       const std::string& path) { read_value(node, path, member); },
                     .write = [&member] { return write_value(member); }};
    }
    fields.push_back(std::move(field));
  }
};

}  // namespace internal

/// The fields of `config`, which must outlive the result and stay where it is.
template <class C>
Section bind_section(C& config) {
  static_assert(ConfigStruct<C>, "a config struct has each_field(visit)");
  Section section;
  config.each_field(internal::Binder{section.fields});
  if constexpr (requires { config.validate(std::string()); }) {
    section.validate = [&config](const std::string& prefix) { config.validate(prefix); };
  }
  return section;
}

/// A config struct from a section of a file; `prefix` is the section's dotted path in messages.
/// Throws ghost::ConfigError, one line with file and line number, for
///   unknown keys   `a.yaml:14: unknown key optimizer.warmup; did you mean optimizer.warmup_steps?`
///   wrong types    `a.yaml:9: train.steps is "many"; expected an integer`
///   ranges         what `validate` throws, after the file and line of the key
template <class C>
C read_section(const ConfigNode& node, std::string_view prefix) {
  C config{};
  if constexpr (requires { config.choose_fields(node); }) {
    config.choose_fields(node);
  }
  read_fields(node, prefix, bind_section(config));
  return config;
}

/// A config struct from a whole file, as load_config gives it.
template <class C>
C read_config(const ConfigNode& root) {
  return read_section<C>(root, "");
}

/// YAML with every field, defaults included, and docs as comments; reads back to an equal struct.
template <class C>
std::string write_config(const C& config) {
  C copy = config;  // each_field is for writing too, so it is not const
  return write_fields(bind_section(copy));
}

/// A help listing: each key with its value, doc and type; `N` is the index of a list element.
template <class C>
std::string describe_config(C config = {}) {
  return describe_fields(bind_section(config));
}

}  // namespace ghost
