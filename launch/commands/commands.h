#pragma once
#include "launch/command_line.h"

namespace halo::launch {

/// Each adds one subcommand of the program `halo` with its options. The subcommand's callback does the work; it throws
/// InputError for what the user gave (exit code 2) and any other exception for a failure (exit code 1).
void add_tokenizer(Command& program);
void add_tokenize(Command& program);
void add_select(Command& program);
void add_evaluate(Command& program);
void add_export(Command& program);
void add_inspect(Command& program);
void add_verify(Command& program);
void add_report(Command& program);
void add_plan(Command& program);
void add_bench(Command& program);

}  // namespace halo::launch
