#pragma once
#include <nccl.h>

#include "core/base/error.h"

/// Runs one call of NCCL; throws Error naming the call, NCCL's own message and what it last noted.
#define HALO_NCCL_CHECK(call)                                                                  \
  do {                                                                                         \
    if (const ncclResult_t status_ = (call); status_ != ncclSuccess) {                         \
      ::halo::fail(__FILE__, __LINE__, #call,                                                  \
                   ::halo::str(ncclGetErrorString(status_), ": ", ncclGetLastError(nullptr))); \
    }                                                                                          \
  } while (false)
