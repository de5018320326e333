// Small files: read whole and bounded, written whole or not at all.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

// State files, runtime records and procfs lines are small; more than this is somebody's mischief.
inline constexpr size_t kMaxFileBytes = 16U << 20U;

// Reads to end of file. EFBIG past `limit`; a directory or FIFO is refused rather than waited for.
Result<std::string> ReadFileAt(int dir_fd, const std::string& path, size_t limit = kMaxFileBytes);
Result<std::string> ReadFile(const std::string& path, size_t limit = kMaxFileBytes);

// Reads an open file again from its start; `expected` is its length, where that is known.
Result<std::string> RereadFd(int fd, const std::string& path, size_t limit = kMaxFileBytes,
                             size_t expected = 0);

// Temporary name in the same directory, then rename(2): no reader ever sees a part. No fsync, since
// this state does not outlive a boot. The directory keeps no temporary file when it fails.
// `modified`, where given, becomes the file's modification time.
Status WriteWholeAt(int dir_fd, const std::string& path, std::string_view data, mode_t mode = 0600,
                    const timespec* modified = nullptr);

// Where WriteWholeAt() of this process makes the file first. One that is there already it fills, which is
// faster.
std::string TemporaryName(const std::string& path);

// A file that must not be there yet, for a directory that nobody sees before it is whole: see RenameNew.
Status WriteNew(const std::string& path, std::string_view data);

// What an existing file says from now on: for a file that nobody reads meanwhile.
Status WriteOver(const std::string& path, std::string_view data);

// rename(2) that replaces nothing: EEXIST or ENOTEMPTY.
Status RenameNew(const std::string& from, const std::string& to);

// One write(2) to an existing file: how the kernel's control files want it.
Status WriteOnceAt(int dir_fd, const std::string& path, std::string_view data);

Status WriteAll(int fd, std::string_view data, const std::string& path);

// Removes a directory and what is in it, never following a symbolic link; a missing one is fine.
Status RemoveTreeAt(int dir_fd, const std::string& path);

// Names of the directories in an open directory, whose `path` is for errors; links are none.
Result<std::vector<std::string>> DirectoriesIn(int dir_fd, const std::string& path);

// Strict decimal: the whole text (one trailing newline allowed), no sign, no overflow.
std::optional<uint64_t> ParseU64(std::string_view text);

std::string_view TrimEnd(std::string_view text);

}  // namespace lc
