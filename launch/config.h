#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "launch/halo.pb.h"

namespace halo::launch {

using proto::Config;

/// A config's text (text format of halo.proto). `name` names it in messages. Throws InputError with
/// "name:line:column: reason"; an unknown field or enum value names the nearest known one. Only the syntax is checked:
/// resolve() checks the meaning.
[[nodiscard]] Config parse_config(std::string_view text, std::string_view name);
/// parse_config of a file. Throws InputError also when it cannot be read.
[[nodiscard]] Config read_config(const std::string& path);

/// One `--set` assignment, "path=value". The path is the file's: `job[0].train.steps`, `job[align].train.steps`, or
/// `train.steps` for every training job (likewise select, evaluate, export, report). The value is as in the file;
/// quotes around a string may be left out; a list such as [1,3] replaces what stood there. Throws InputError.
void apply_override(Config& config, std::string_view assignment);

/// The same without "--set" in what it throws.
void assign(Config& config, std::string_view assignment);
/// Whether a path's field is an integer. Throws InputError for a path that is none.
[[nodiscard]] bool takes_whole_numbers(std::string_view path);

/// Positions in config.job() such that every job comes after what it needs, otherwise in the file's order. Throws
/// InputError for names that are no file names or not unique, unknown needs and cycles (which it spells out).
[[nodiscard]] std::vector<int> job_order(const Config& config);

/// The config with every default filled in (of the schema, then of the stage), the jobs' layout, precision and seed taken
/// from the config where they have none, references completed and `first_sample: AUTO` turned into numbers: each
/// training job starts where the earlier ones of the config that read the same token files end, counted in tokens and
/// rounded up to whole samples. With shuffling this keeps jobs apart only when their sequence lengths agree.
/// `stored` holds by job name the configs that earlier runs of this output stored: their AUTO ranges stay as they were.
/// Throws InputError for everything that cannot be meant, with the path of the field. resolve(resolve(c)) == resolve(c).
[[nodiscard]] Config resolve(const Config& config, std::string_view name,
                             const std::map<std::string, Config>& stored = {});

/// What a job's folder stores: a resolved config with this job alone.
[[nodiscard]] Config job_config(const Config& resolved, int job);

/// Text that parse_config reads back to an equal config, doubles exactly.
[[nodiscard]] std::string to_text(const Config& config);

/// A field that differs between two configs, with its values as text ("" where it is not set).
struct FieldChange {
  std::string path;  // "job[align].train.optimizer.lr"
  std::string stored;
  std::string now;
};

/// All fields that differ.
[[nodiscard]] std::vector<FieldChange> changes_of(const Config& before, const Config& now);

/// What forbids to resume a job: the fields that differ between its stored config and job_config() of the new one,
/// without those that may change (output, steps, layout, ranks, priority, retries, shards, checkpoint, guard, monitor, threads,
/// comm_backend, deterministic, validation, recompute, micro_sequences, dump_gradients_at). Empty when the run may go on.
[[nodiscard]] std::vector<FieldChange> changes_that_forbid_resume(const Config& stored,
                                                                  const Config& now);
/// Those, as "Job.layout": a message of halo.proto and its field.
[[nodiscard]] std::vector<std::string> fields_that_may_change();

/// "NAME" of a reference "job:NAME"; empty when the text is none.
[[nodiscard]] std::string_view referenced_job(std::string_view reference);

}  // namespace halo::launch
