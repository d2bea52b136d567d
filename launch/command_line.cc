#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {

Option& Option::required() {
  option_->required();
  return *this;
}
Option& Option::takes(const char* value_name) {
  option_->type_name(value_name);
  return *this;
}
Option& Option::shows_default() {
  option_->capture_default_str();
  return *this;
}
Option& Option::in_range(int low, int high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
Option& Option::in_range(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
Option& Option::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}
Option& Option::one_at_a_time() {
  option_->expected(1)->take_all();
  return *this;
}

Option Command::option(const char* name, std::string& value, const char* help) {
  return Option(*app_->add_option(name, value, help));
}
Option Command::option(const char* name, int& value, const char* help) {
  return Option(*app_->add_option(name, value, help));
}
Option Command::option(const char* name, std::int64_t& value, const char* help) {
  return Option(*app_->add_option(name, value, help));
}
Option Command::option(const char* name, double& value, const char* help) {
  return Option(*app_->add_option(name, value, help));
}
Option Command::option(const char* name, std::vector<std::string>& values, const char* help) {
  return Option(*app_->add_option(name, values, help));
}
void Command::flag(const char* name, bool& value, const char* help) {
  app_->add_flag(name, value, help);
}

Command Command::command(const char* name, const char* help) {
  return Command(*app_->add_subcommand(name, help));
}
void Command::require_command() { app_->require_subcommand(1); }
void Command::footer(const char* text) { app_->footer(text); }
void Command::does(std::function<void()> work) { app_->callback(std::move(work)); }

Program::Program(const char* name, const char* description, const char* version)
    : Command(*new CLI::App(description, name)), owned_(app_) {
  app_->set_version_flag("--version", version);
  app_->get_formatter()->column_width(34);
}

Program::~Program() = default;

std::string Program::name() const { return app_->get_name(); }

/// What follows the program's name, when that is meant as a command but is none.
void Program::require_known_command(const std::string& argument) const {
  std::vector<std::string> names;
  for (const CLI::App* command : owned_->get_subcommands({})) names.push_back(command->get_name());
  if (names.empty() || argument.starts_with('-') || std::ranges::count(names, argument) > 0) return;
  const std::string nearest = nearest_name(argument, names);
  throw InputError(str("there is no command \"", argument, '"',
                       nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?"), " (see ",
                       name(), " --help)"));
}

void Program::run(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) require_known_command(arguments.front());
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app_->parse(reversed);
  } catch (const CLI::Success& answer) {
    (void)app_->exit(answer);  // prints help or version
  } catch (const CLI::ParseError& error) {
    std::string command = name();
    for (const CLI::App* sub : app_->get_subcommands()) command += " " + sub->get_name();
    throw InputError(str(error.what(), " (see ", command, " --help)"));
  }
}

}  // namespace halo::launch
