#include "tests/comm/mpi_main.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <optional>
#include <string>

namespace halo::comm {
namespace {

std::optional<MpiSession>& session() {
  static std::optional<MpiSession> only;  // tests take no arguments
  return only;
}

/// What every rank but the first prints.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const std::string text =
        str("rank ", test_session().rank(), ": ", result.file_name() ? result.file_name() : "?",
            ':', result.line_number(), ": ", result.message(), '\n');
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
};

}  // namespace

MpiSession& test_session() { return session().value(); }

}  // namespace halo::comm

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

// What Open MPI and its plug-ins keep until the process ends.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libopen-pal\nleak:libopen-rte\nleak:libmpi\nleak:libpmix\nleak:mca_\nleak:libevent\n"
         "leak:libhwloc\nleak:libfabric\nleak:libucs\nleak:libibverbs\nleak:libpsm";
}

/// Plug-ins that MPI has unloaded have no name to be suppressed by: those of its start are not looked at, and the
/// search comes before its end.
class LeaksOfMpi {
 public:
  void starts() { __lsan_disable(); }
  void started() { __lsan_enable(); }
  void ends() { __lsan_do_leak_check(); }
};
#else
class LeaksOfMpi {
 public:
  void starts() {}
  void started() {}
  void ends() {}
};
#endif

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  LeaksOfMpi leaks;
  leaks.starts();
  halo::comm::session().emplace();
  leaks.started();
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (halo::comm::test_session().rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new halo::comm::FailurePrinter);
  }
  const int result = RUN_ALL_TESTS();
  leaks.ends();
  const bool lost = halo::comm::test_session().may_have_lost_a_peer();
  halo::comm::session().reset();
  if (lost) halo::comm::MpiSession::leave(1);
  return result;
}
