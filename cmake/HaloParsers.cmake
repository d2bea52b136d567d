# halo_parsers: what fuzz targets read with, in place of the libraries that hold it. Those need parallel/comm, whose
# coroutines clang 14 cannot compile, and kernels that no parser calls.
protobuf_generate(PROTOS checkpoints/manifest.proto launch/halo.proto IMPORT_DIRS ${PROJECT_SOURCE_DIR}
                  OUT_VAR proto_sources)
set_source_files_properties(${proto_sources} PROPERTIES COMPILE_OPTIONS -w)

halo_library(parsers
  SOURCES checkpoints/manifest.cc checkpoints/regions.cc checkpoints/safetensors_header.cc core/halo/select.cc
          core/halo/sweep.cc core/infer/tasks.cc core/model/model_config.cc launch/config_check.cc
          launch/config_parse.cc launch/config_resolve.cc ${proto_sources}
  DEPENDS halo_data nlohmann_json::nlohmann_json protobuf::libprotobuf)
