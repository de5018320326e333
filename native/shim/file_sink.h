// The regular file that a process's output goes on to: written by the shim, so that the container never holds
// the host's inode.
#pragma once

#include <string>

#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/kept_bytes.h"

namespace lc::shim {

class FileSink {
 public:
  // `path` is empty for a descriptor of the caller's, whose offset it shares.
  FileSink(UniqueFd file, std::string path);

  // Notes at `record` how the next shim finds the file again.
  Status Save(const std::string& record) const;
  // The file of such a note, and what an earlier shim was in the middle of writing when it was killed is
  // settled. ENOENT where there is no note. A file that is gone gives a sink that takes everything and keeps
  // nothing.
  static Result<FileSink> Reopen(const std::string& record, KeptBytes* kept);

  // Both lead to one file.
  bool Same(const FileSink& other) const;

  // Writes on what is not there yet. False: there is no room for it now, try again later. What fails for good
  // is passed over: the program does not wait for a file that cannot be written.
  bool Write(KeptBytes* kept);

 private:
  uint64_t Offset() const;
  uint64_t WrittenOf(const KeptBytes& kept) const;

  UniqueFd file_;
  std::string path_;
  bool appends_ = false;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
};

}  // namespace lc::shim
