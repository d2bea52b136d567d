#include "data/token_file.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "data/token_file_check.h"
#include "tests/data/complaint.h"
#include "tests/temporary_folder.h"

namespace halo::data {
namespace {

using Ids = std::vector<std::int32_t>;

/// Documents of 0, 1, 2 ... tokens that count up modulo the vocabulary.
void write_counting(const std::filesystem::path& path, std::int64_t vocab_size, int documents,
                    int deflate = 0) {
  TokenFileWriter writer(path, {vocab_size, vocab_size - 1, "abc123"}, deflate);
  std::int64_t next = 0;
  for (int d = 0; d < documents; ++d) {
    Ids ids(static_cast<std::size_t>(d));
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(next++ % vocab_size);
    writer.add_document(ids);
  }
  EXPECT_EQ(writer.tokens(), next);
  writer.finish();
}

Ids read(const TokenFile& file, std::int64_t begin, std::int64_t count) {
  Ids ids(static_cast<std::size_t>(count));
  file.read(begin, ids);
  return ids;
}

TEST(TokenFileTest, GivesBackWhatWasWritten) {
  const test::TemporaryFolder folder;
  for (const std::int64_t vocab_size : {100, 65536, 65537, 2147483647}) {
    for (const int deflate : {0, 3}) {
      const auto path = folder / "t.h5";
      write_counting(path, vocab_size, 500, deflate);  // 124750 tokens, four chunks
      const auto file = open_token_file(path);
      EXPECT_EQ(file->tokens(), 500 * 499 / 2);
      EXPECT_EQ(file->documents(), 500);
      EXPECT_EQ(file->info().vocab_size, vocab_size);
      EXPECT_EQ(file->info().eos_token_id, vocab_size - 1);
      EXPECT_EQ(file->info().tokenizer_sha256, "abc123");
      for (const std::int64_t begin : {0, 32760, 124745}) {
        Ids expected(5);
        std::iota(expected.begin(), expected.end(), static_cast<std::int32_t>(begin));
        for (std::int32_t& id : expected) id = static_cast<std::int32_t>(id % vocab_size);
        EXPECT_EQ(read(*file, begin, 5), expected);
      }
      EXPECT_EQ(read(*file, 124750, 0), Ids{});
      EXPECT_THROW((void)read(*file, 124749, 2), Error);
      EXPECT_THROW((void)read(*file, -1, 2), Error);
      EXPECT_EQ(file->document_starts(0, 7), (std::vector<std::int64_t>{1, 3, 6}));
      EXPECT_EQ(file->document_starts(3, 11), (std::vector<std::int64_t>{6, 10}));
    }
  }
}

TEST(TokenFileTest, EqualInputGivesEqualBytes) {
  const test::TemporaryFolder folder;
  write_counting(folder / "a.h5", 100, 50);
  write_counting(folder / "b.h5", 100, 50);
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(TokenFileTest, NothingIsThereBeforeFinish) {
  const test::TemporaryFolder folder;
  const auto entries = [&] {
    return std::distance(std::filesystem::directory_iterator(folder.path()), {});
  };
  {
    TokenFileWriter writer(folder / "t.h5", {100, -1, ""});
    writer.add_document(Ids{1, 2});
    EXPECT_FALSE(std::filesystem::exists(folder / "t.h5"));
    EXPECT_THROW(writer.add_document(Ids{100}), Error);
    EXPECT_THROW(writer.add_document(Ids{-1}), Error);
  }
  EXPECT_EQ(entries(), 0);
  EXPECT_THROW(TokenFileWriter(folder / "no/such/t.h5", {100, -1, ""}), Error);
  EXPECT_NE(complaint([&] { TokenFileWriter w(folder / "t.h5", {0, -1, ""}); }), "no complaint");
  EXPECT_NE(complaint([&] { TokenFileWriter w(folder / "t.h5", {10, 10, ""}); }), "no complaint");
  EXPECT_EQ(entries(), 0);
}

/// A file of this format, or nearly, written call by call.
struct RawFile {
  hid_t token_type = H5T_STD_U32LE;
  std::vector<std::uint64_t> tokens{1, 2, 3};
  std::vector<std::uint64_t> documents{0, 2, 3};
  std::int64_t version = 1;
  std::int64_t vocab_size = 10;
  std::int64_t eos = -1;
  std::string leave_out;

  void write(const std::filesystem::path& path) const {
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    dataset(file, "tokens", token_type, tokens);
    dataset(file, "documents", H5T_STD_U64LE, documents);
    attribute(file, "format_version", version);
    attribute(file, "vocab_size", vocab_size);
    attribute(file, "eos_token_id", eos);
    text(file, "tokenizer_sha256", "x");
    H5Fclose(file);
  }

 private:
  void dataset(hid_t file, const char* name, hid_t type,
               const std::vector<std::uint64_t>& values) const {
    if (leave_out == name) return;
    const hsize_t n = values.size();
    const hid_t space = H5Screate_simple(1, &n, nullptr);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Sclose(space);
  }
  void attribute(hid_t file, const char* name, std::int64_t value) const {
    if (leave_out == name) return;
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t a = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_INT64, &value);
    H5Aclose(a);
    H5Sclose(space);
  }
  void text(hid_t file, const char* name,
            const char* value) const {  // variable length, as h5py has it
    if (leave_out == name) return;
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t a = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, type, &value);
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
  }
};

TEST(TokenFileTest, ReadsFilesOfOtherWriters) {
  const test::TemporaryFolder folder;
  RawFile{}.write(folder / "t.h5");
  const auto file = open_token_file(folder / "t.h5");
  EXPECT_EQ(read(*file, 0, 3), (Ids{1, 2, 3}));
  EXPECT_EQ(file->info().tokenizer_sha256, "x");
}

TEST(TokenFileTest, HostileFilesAreRefusedWithFilePlaceAndReason) {
  struct Case {
    std::function<void(RawFile&)> spoil;
    std::string reason;
  };
  const std::vector<Case> cases{
      {[](RawFile& f) { f.leave_out = "tokens"; }, "/tokens: missing"},
      {[](RawFile& f) { f.leave_out = "documents"; }, "/documents: missing"},
      {[](RawFile& f) { f.leave_out = "vocab_size"; }, "attribute vocab_size: missing"},
      {[](RawFile& f) { f.leave_out = "tokenizer_sha256"; }, "attribute tokenizer_sha256: missing"},
      {[](RawFile& f) { f.version = 2; }, "format_version 2"},
      {[](RawFile& f) { f.vocab_size = 0; }, "vocab_size: 0 tokens"},
      {[](RawFile& f) { f.vocab_size = std::int64_t{1} << 40; },
       "vocab_size: 1099511627776 tokens"},
      {[](RawFile& f) { f.eos = 10; }, "eos_token_id: 10 is past the vocabulary of 10"},
      {[](RawFile& f) {
         f.tokens = {1, 10, 2};
       },
       "/tokens: token 1 is id 10, past the vocabulary of 10"},
      {[](RawFile& f) {
         f.tokens = {1, 4294967295, 2};
       },
       "/tokens: token 1 is id 4294967295"},
      {[](RawFile& f) { f.token_type = H5T_STD_I32LE; },
       "/tokens: not unsigned integers of 16 to 32 bits"},
      {[](RawFile& f) { f.token_type = H5T_IEEE_F32LE; }, "/tokens: not unsigned"},
      {[](RawFile& f) { f.token_type = H5T_STD_U64LE; }, "/tokens: not unsigned"},
      {[](RawFile& f) {
         f.documents = {0, 2, 4};
       },
       "/documents: ends at 4, /tokens at 3"},
      {[](RawFile& f) {
         f.documents = {0, 2, 1, 3};
       },
       "/documents[2]: 1 after 2"},
      {[](RawFile& f) {
         f.documents = {1, 3};
       },
       "/documents[0]: 1 after 0"},
      {[](RawFile& f) { f.documents = {}; }, "/documents: lacks the end"},
  };
  const test::TemporaryFolder folder;
  const auto path = folder / "t.h5";
  TokenCheckOptions helper;
  helper.program = HALO_CHECK_TOKENS;
  for (const Case& one : cases) {
    RawFile file;
    one.spoil(file);
    file.write(path);
    for (const TokenCheckOptions& options : {helper, TokenCheckOptions{}}) {  // spawned and forked
      const std::string reason = complaint([&] { (void)open_token_file(path, options); });
      EXPECT_TRUE(holds(reason, one.reason) && reason.rfind(path.string(), 0) == 0)
          << reason << "\nwhere expected: " << one.reason;
    }
  }
}

TEST(TokenFileTest, LinksAndOtherFilesAreRefused) {
  const test::TemporaryFolder folder;
  const auto path = folder / "t.h5";
  RawFile{}.write(folder / "other.h5");
  for (const int kind : {0, 1, 2}) {
    RawFile raw;
    raw.leave_out = "tokens";
    raw.write(path);
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    if (kind == 0)
      H5Lcreate_external((folder / "other.h5").c_str(), "/tokens", file, "tokens", 0, 0);
    if (kind == 1) H5Lcreate_soft("/documents", file, "tokens", 0, 0);
    if (kind == 2) H5Gclose(H5Gcreate2(file, "tokens", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    EXPECT_TRUE(holds(complaint([&] { (void)open_token_file(path); }),
                      kind < 2 ? "/tokens: a link to elsewhere" : "/tokens: not a dataset"));
  }
}

TEST(TokenFileTest, DatasetsThatWereNeverWrittenClaimNoMemory) {
  const test::TemporaryFolder folder;
  const auto path = folder / "t.h5";
  RawFile raw;
  raw.leave_out = "documents";
  raw.write(path);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hsize_t size = hsize_t{1} << 40, chunk = 1 << 16;
  const hid_t space = H5Screate_simple(1, &size, nullptr);
  const hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(layout, 1, &chunk);
  H5Dclose(H5Dcreate2(file, "documents", H5T_STD_U64LE, space, H5P_DEFAULT, layout, H5P_DEFAULT));
  H5Pclose(layout);
  H5Sclose(space);
  H5Fclose(file);
  EXPECT_TRUE(holds(complaint([&] { (void)open_token_file(path); }),
                    path.string() + ": /documents: 1099511627776 elements in 0 bytes"));
}

TEST(TokenFileTest, NoDamageReachesTheCaller) {
  const test::TemporaryFolder folder;
  const auto path = folder / "t.h5";
  write_counting(path, 100, 20, 1);
  const std::string good = read_file(path);
  EXPECT_TRUE(holds(complaint([] { (void)open_token_file("/nowhere/t.h5"); }), "/nowhere/t.h5: "));
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{100}, good.size() / 2, good.size() - 1}) {
    write_file_atomically(path, good.substr(0, size));
    EXPECT_NE(complaint([&] { (void)open_token_file(path); }), "no complaint") << size;
  }
  int refused = 0;
  for (std::size_t i = 0; i < 60; ++i) {  // the header and the indexes lie in the first kilobytes
    std::string damaged = good;
    for (std::size_t j = 0; j < 8; ++j)
      damaged[(i * 67 + j) % std::min<std::size_t>(good.size(), 4096)] ^= '\xA5';
    write_file_atomically(path, damaged);
    try {
      check_token_file(path);
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).rfind(path.string(), 0), 0u) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);  // not all bytes matter
}

TEST(TokenFileTest, CrashAndHangOfTheCheckAreReasonsToo) {
  const test::TemporaryFolder folder;
  const auto path = folder / "t.h5";
  RawFile{}.write(path);
  const auto script = [&](const std::string& body) {
    write_file_atomically(folder / "check", "#!/bin/sh\n" + body + "\n");
    std::filesystem::permissions(folder / "check", std::filesystem::perms::owner_all);
    TokenCheckOptions options;
    options.program = folder / "check";
    options.timeout = std::chrono::seconds(1);
    return complaint([&] { check_token_file(path, options); });
  };
  EXPECT_TRUE(holds(script("kill -SEGV $$"), "libhdf5 crashes on it (signal 11)"));
  EXPECT_TRUE(holds(script("exec sleep 60"), "more than 1 s"));
  EXPECT_TRUE(holds(script("exit 7"), "failed with code 7"));
  EXPECT_EQ(script("exit 0"), "no complaint");
  // Asked for of the whole process group; the training itself stops by them.
  EXPECT_EQ(script("kill -TERM $$; kill -INT $$; kill -USR1 $$; exit 0"), "no complaint");
}

}  // namespace
}  // namespace halo::data
