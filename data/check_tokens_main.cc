// halo_check_tokens FILE TOKEN_LIMIT: what check_token_file runs. Prints the reason when the file is refused.
#include <unistd.h>

#include <cstdlib>

#include "data/token_file_check.h"

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  return halo::data::run_token_check(argv[1], std::strtoll(argv[2], nullptr, 10), STDOUT_FILENO);
}
