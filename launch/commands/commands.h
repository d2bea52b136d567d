#pragma once

namespace CLI {
class App;
}

namespace halo::launch {

/// Each adds one subcommand of the program `halo` with its options. The subcommand's callback does the work; it throws
/// InputError for what the user gave (exit code 2) and any other exception for a failure (exit code 1).
void add_tokenizer(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_select(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_export(CLI::App& app);
void add_inspect(CLI::App& app);
void add_verify(CLI::App& app);
void add_report(CLI::App& app);
void add_bench(CLI::App& app);

}  // namespace halo::launch
