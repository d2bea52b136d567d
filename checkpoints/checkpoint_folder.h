#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoints/retention.h"

namespace halo::checkpoints {

/// The life of a checkpoint's folder in `root`: made as .step_00001000.writing, renamed to step_00001000 when whole, to
/// .step_00001000.deleted before it is emptied. So a folder with a plain name is whole at any moment, and what begins
/// with a dot is a leftover once no save runs. All calls are rank 0's; they throw Error with the system's reason.

[[nodiscard]] std::filesystem::path final_folder(const std::filesystem::path& root,
                                                 std::int64_t step);
[[nodiscard]] std::filesystem::path writing_folder(const std::filesystem::path& root,
                                                   std::int64_t step);

/// Makes `root` and the empty writing folder, after removing what earlier crashes left.
void begin_folder(const std::filesystem::path& root, std::int64_t step);
/// Moves the writing folder to its final name, in place of a checkpoint of the same step, durably. Throws where it has not got
/// that name; returns what failed after it had, empty when nothing did: it is there then, but may be gone after a power failure.
[[nodiscard]] std::string publish_folder(const std::filesystem::path& root, std::int64_t step);
/// Removes the writing folder.
void discard_folder(const std::filesystem::path& root, std::int64_t step);
/// Removes what the rules do not keep now that the checkpoint of `step` is whole.
void prune_folders(const std::filesystem::path& root, std::int64_t step,
                   const Retention& retention);
/// Throws unless the file system of `root` has room for `bytes` more. One that does not say what it has is believed to.
void require_space(const std::filesystem::path& root, std::int64_t bytes);
/// Removes what crashes left, which no save may be using; nothing when there is no `root`.
void remove_leftovers(const std::filesystem::path& root);
/// Removes checkpoints of steps between `after` and `before`, neither included: of a course that was given up.
void remove_folders(const std::filesystem::path& root, std::int64_t after, std::int64_t before);
/// The step of a checkpoint's folder that find_checkpoints gave.
[[nodiscard]] std::int64_t checkpoint_step(const std::filesystem::path& folder);

}  // namespace halo::checkpoints
