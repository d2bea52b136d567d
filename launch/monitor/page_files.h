#pragma once

namespace halo::launch {

// The files of launch/monitor/page, which the program carries.
extern const char* const kPageHtml;
extern const char* const kPageCss;
extern const char* const kPageJs;

}  // namespace halo::launch
