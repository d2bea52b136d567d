# Without a preset: optimised, with debug information.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

# halo_flags: what every target of the project compiles with.
add_library(halo_flags INTERFACE)
target_compile_features(halo_flags INTERFACE cxx_std_20)
target_include_directories(halo_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_compile_definitions(halo_flags INTERFACE HALO_CUDA_ENABLED=$<BOOL:${HALO_CUDA}>)
set(cxx_flags -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -Wall -Wextra -Wshadow -Wconversion
              $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # GCC 12 warns of its own std::string at -O3
              $<$<BOOL:${HALO_WERROR}>:-Werror> -march=${HALO_MARCH})
set(cuda_flags -std=c++20 --expt-relaxed-constexpr --extended-lambda -Xcompiler=-Wall,-Wextra
               $<$<BOOL:${HALO_WERROR}>:--Werror=all-warnings>)
target_compile_options(halo_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxx_flags}>"
                                            "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")
if(HALO_SANITIZE)
  # Quicker to build without checks of each pointer's use: a wrong one is left to the address sanitizer.
  set(sanitizer_flags -fsanitize=${HALO_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  if(NOT HALO_FUZZ)
    list(APPEND sanitizer_flags -fno-sanitize=null,vptr,object-size)
  endif()
  target_compile_options(halo_flags INTERFACE ${sanitizer_flags})
  target_link_options(halo_flags INTERFACE -fsanitize=${HALO_SANITIZE})
endif()
if(HALO_SANITIZE MATCHES "thread")
  # Asio's fences, which the thread sanitizer does not know. Its handlers are ordered by its mutex as well.
  target_compile_definitions(halo_flags INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
if(HALO_FUZZ)
  target_compile_options(halo_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_UNITY_BUILD)
  # A source is a header to GCC when another includes it, and types of its own would then leak out of a header.
  target_compile_options(halo_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
find_program(HALO_CCACHE ccache)
if(HALO_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HALO_CCACHE})
endif()

# halo_build_quickly(TARGET): little optimisation, for code that computes next to nothing and takes long to compile.
function(halo_build_quickly target)
  if(HALO_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  else()
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# halo_library(NAME SOURCES ... DEPENDS ...): the static library halo_NAME.
function(halo_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(halo_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(halo_${name} PUBLIC halo_flags ${ARG_DEPENDS})
endfunction()

# halo_test(NAME [LABELS cpu|gpu|mpi|threads|slow|cluster ...] [RANKS n... | SHARDS n] SOURCES ... DEPENDS ...)
# The target tests_LABEL builds all programs of a label; "libraries" is of those that need no program of the project.
# Each test case runs alone. With SHARDS n processes share the cases out, for cases that share what is costly to make; with
# RANKS the whole program runs once under `mpirun -np n` for every n, and must hold its own main().
function(halo_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;SHARDS" "LABELS;RANKS;SOURCES;DEPENDS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS cpu)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE halo_flags ${ARG_DEPENDS} GTest::gtest)
  halo_build_quickly(${name})
  # What is tested without the programs; building those takes half of the time.
  if("cpu" IN_LIST ARG_LABELS AND NOT ARG_DEPENDS MATCHES "halo_(jobs|test_runs|test_layouts|test_monitored)")
    list(APPEND ARG_LABELS libraries)
  endif()
  foreach(label ${ARG_LABELS})
    if(NOT TARGET tests_${label})
      add_custom_target(tests_${label})
    endif()
    add_dependencies(tests_${label} ${name})
  endforeach()
  if(ARG_RANKS)
    foreach(n ${ARG_RANKS})
      add_test(NAME ${name}_${n}_ranks
               COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe -np ${n}
                       $<TARGET_FILE:${name}>)
      set_tests_properties(${name}_${n}_ranks PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                           PROCESSORS 2)
    endforeach()
    return()
  endif()
  target_link_libraries(${name} PRIVATE GTest::gtest_main)
  if(ARG_SHARDS)
    math(EXPR last "${ARG_SHARDS} - 1")
    foreach(i RANGE ${last})
      add_test(NAME ${name}_shard_${i} COMMAND ${name})
      set_tests_properties(${name}_shard_${i} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                           ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${i}")
    endforeach()
    return()
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST)
  # Its own PROPERTIES would take a list of labels apart.
  set(properties ${CMAKE_CURRENT_BINARY_DIR}/${name}_properties.cmake)
  file(WRITE ${properties} "if(${name}_TESTS)\n  set_tests_properties(\${${name}_TESTS} PROPERTIES"
       " LABELS \"${ARG_LABELS}\" TIMEOUT ${ARG_TIMEOUT})\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${properties})
endfunction()
