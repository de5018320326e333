// What CRIU wrote down about a dump or a restore that failed.
#pragma once

#include <string>
#include <string_view>

namespace lc::shim {

// The last lines of that log that say `Error`, 40 at most; empty where there is no log.
std::string CriuErrors(const std::string& path);

// The same of a log's text.
std::string CriuErrorLines(std::string_view log);

// The first of such lines, without its time: what went wrong, while the later ones say what that led to.
std::string FirstCriuError(std::string_view errors);

}  // namespace lc::shim
