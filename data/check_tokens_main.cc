// halo_check_tokens FILE TOKEN_LIMIT: what check_token_file runs. Prints the reason when the file is refused.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "data/token_file_check.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs(
        "Usage: halo_check_tokens FILE TOKEN_LIMIT\n"
        "The other programs run it to look at token files; `halo verify FILE` is for people.\n",
        stderr);
    return 1;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody reads the answer of one whose parent is gone
  return halo::data::run_token_check(argv[1], std::strtoll(argv[2], nullptr, 10), STDOUT_FILENO);
}
