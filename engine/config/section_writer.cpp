#include <algorithm>

#include <fmt/format.h>

#include "engine/config/section.h"

namespace ghost {
namespace {

std::string comment(const std::string& doc) {
  return doc.empty() ? "" : fmt::format("  # {}", doc);
}

void write_section(const Section& section, const std::string& indent, std::string& text);

// `- ` stands before the first field of an element, in place of two blanks of its indent.
void write_list(const std::vector<Section>& elements, const std::string& indent,
                std::string& text) {
  for (const Section& element : elements) {
    const std::size_t begin = text.size();
    write_section(element, indent + "  ", text);
    if (text.size() > begin) {
      text[begin + indent.size()] = '-';
    } else {
      text += indent + "- {}\n";
    }
  }
}

void write_section(const Section& section, const std::string& indent, std::string& text) {
  for (const Field& field : section.fields) {
    text += fmt::format("{}{}:", indent, field.key);
    if (const auto* value = std::get_if<ValueField>(&field.content)) {
      text += fmt::format(" {}{}\n", value->write(), comment(field.doc));
    } else if (const auto* nested = std::get_if<Section>(&field.content)) {
      text += (nested->fields.empty() ? " {}" : "") + comment(field.doc) + "\n";
      write_section(*nested, indent + "  ", text);
    } else {
      const std::vector<Section> elements = std::get<ListField>(field.content).elements();
      text += (elements.empty() ? " []" : "") + comment(field.doc) + "\n";
      write_list(elements, indent + "  ", text);
    }
  }
}

struct HelpLine {
  std::string setting;  // `train.steps = 5000`
  std::string doc;
};

void list_help(const Section& section, const std::string& prefix, std::vector<HelpLine>& lines) {
  for (const Field& field : section.fields) {
    const std::string key = prefix + field.key;
    if (const auto* value = std::get_if<ValueField>(&field.content)) {
      lines.push_back(
          {fmt::format("{} = {}", key, value->write()),
           fmt::format("{}{}[{}]", field.doc, field.doc.empty() ? "" : " ", value->type)});
    } else if (const auto* nested = std::get_if<Section>(&field.content)) {
      lines.push_back({key, field.doc});
      list_help(*nested, key + ".", lines);
    } else {
      lines.push_back({key, field.doc});
      list_help(std::get<ListField>(field.content).element, key + ".N.", lines);
    }
  }
}

}  // namespace

std::string write_fields(const Section& section) {
  std::string text;
  write_section(section, "", text);
  return text.empty() ? "{}\n" : text;
}

std::string describe_fields(const Section& section) {
  constexpr std::size_t kWidest = 48;  // longer settings push their doc to the right
  std::vector<HelpLine> lines;
  list_help(section, "", lines);
  std::size_t width = 0;
  for (const HelpLine& line : lines) {
    if (line.setting.size() <= kWidest) {
      width = std::max(width, line.setting.size());
    }
  }
  std::string text;
  for (const HelpLine& line : lines) {
    text += line.doc.empty() ? line.setting + "\n"
                             : fmt::format("{:<{}}  {}\n", line.setting, width, line.doc);
  }
  return text;
}

}  // namespace ghost
