#define NVTX_NO_IMPL
#include "tests/base/nvtx_listener.h"

#include <nvtx3/nvToolsExt.h>

#include <string>
#include <utility>

namespace halo::test {
namespace {

std::vector<std::string> events;  // NVTX gives callbacks no context

int on_push(const char* name) {
  events.push_back(std::string("push ") + name);
  return 0;
}
int on_pop() {
  events.emplace_back("pop");
  return 0;
}
nvtxRangeId_t on_start(const char* name) {
  events.push_back(std::string("start ") + name);
  return events.size();
}
void on_end(nvtxRangeId_t id) {
  const std::string begun = events[id - 1];
  events.push_back("end" + begun.substr(begun.find(' ')));
}

int listen(NvtxGetExportTableFunc_t export_table) {
  const auto* const callbacks =
      static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size) == 0)
    return 0;
  const auto set = [&](NvtxCallbackIdCore id, auto* function) {
    *table[id] = reinterpret_cast<NvtxFunctionPointer>(function);
  };
  set(NVTX_CBID_CORE_RangePushA, &on_push);
  set(NVTX_CBID_CORE_RangePop, &on_pop);
  set(NVTX_CBID_CORE_RangeStartA, &on_start);
  set(NVTX_CBID_CORE_RangeEnd, &on_end);
  return 1;
}

}  // namespace

std::vector<std::string> take_nvtx_events() { return std::exchange(events, {}); }

}  // namespace halo::test

// What the NVTX header looks for in a program that has its listener linked in.
extern "C" {
extern NvtxInitializeInjectionNvtxFunc_t InitializeInjectionNvtx2_fnptr;
NvtxInitializeInjectionNvtxFunc_t InitializeInjectionNvtx2_fnptr = &halo::test::listen;
}
