#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace halo::launch {

// Command lines, by CLI11, which is kept out of other files: its templates take them longer to compile than all the rest.

/// One option, to be described further.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}
  Option& required();
  /// What stands for the value in the help, such as "FILE".
  Option& takes(const char* value_name);
  Option& shows_default();
  Option& in_range(int low, int high);
  Option& in_range(double low, double high);
  Option& one_of(const std::vector<std::string>& values);
  /// A list that takes one value each time the option is given, rather than all that follow.
  Option& one_at_a_time();

 private:
  CLI::Option* option_;
};

/// A program, or one of its commands. What options are bound to must outlive it.
class Command {
 public:
  Option option(const char* name, std::string& value, const char* help);
  Option option(const char* name, int& value, const char* help);
  Option option(const char* name, std::int64_t& value, const char* help);
  Option option(const char* name, double& value, const char* help);
  Option option(const char* name, std::vector<std::string>& values, const char* help);
  void flag(const char* name, bool& value, const char* help);

  [[nodiscard]] Command command(const char* name, const char* help);
  void require_command();
  void footer(const char* text);
  /// What is done once the options have been read.
  void does(std::function<void()> work);

 protected:
  explicit Command(CLI::App& app) : app_(&app) {}
  CLI::App* app_;
};

/// A whole command line.
class Program : public Command {
 public:
  Program(const char* name, const char* description, const char* version);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();

  /// Reads the arguments and does what they ask for. Throws InputError for what cannot be read, and what commands throw.
  /// Help and version are printed and are no error.
  void run(const std::vector<std::string>& arguments);
  [[nodiscard]] std::string name() const;

 private:
  void require_known_command(const std::string& argument) const;
  std::unique_ptr<CLI::App> owned_;
};

}  // namespace halo::launch
