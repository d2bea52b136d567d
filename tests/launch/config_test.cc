#include "launch/config.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "core/base/error.h"

namespace halo::launch {
namespace {

constexpr std::string_view kPipeline = R"(
output: "runs/tiny"
seed: 3
layout { pipeline: 1 context: 1 tensor: 2 }
precision: FP64
job { name: "align"
  train { stage: ALIGN teacher: "models/qwen3-tiny"
    data { tokens: "a.h5" sequence_length: 512 shuffle: false }
    batch { sequences: 32 micro_sequences: 4 }
    steps: 100
    checkpoint { every_steps: 10 keep_last: 3 } } }
job { name: "select" needs: "align" select { keep: 7 tasks: "recall.jsonl" tasks: "commonsense.jsonl" } }
job { name: "distill" needs: "select" layout { tensor: 1 }
  train { stage: DISTILL teacher: "models/qwen3-tiny" student: "job:align" keep_attention_from: "job:select"
    data { tokens: "a.h5" sequence_length: 1000 first_sample: AUTO }  # comment: first_sample: AUTO
    batch { sequences: 8 } steps: 3
    optimizer { lr: 3e-5 } } }
job { name: "finetune" needs: "distill" train { stage: FINETUNE student: "job:distill" data { tokens: "a.h5" tokens: "b.h5" weight: 1 weight: 1 } steps: 2 } }
job { name: "export" needs: "finetune" export { to: "models/out" attn_logits_scaling: "hype 500" } }
)";

Config pipeline() { return resolve(parse_config(kPipeline, "tiny.cfg"), "tiny.cfg"); }

/// The message of the InputError that `body` throws; empty when it throws none.
template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string parse_error(std::string_view text) {
  return error_of([&] { (void)parse_config(text, "c"); });
}
std::string resolve_error(std::string_view text) {
  return error_of([&] { (void)resolve(parse_config(text, "c"), "c"); });
}
std::string override_error(std::string_view assignment) {
  Config config = parse_config(kPipeline, "c");
  return error_of([&] { apply_override(config, assignment); });
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Config, FillsInTheDefaultsOfSchemaAndStage) {
  const Config config = pipeline();
  const proto::Train& align = config.job(0).train();
  EXPECT_EQ(align.optimizer().lr(), 1e-3);
  EXPECT_EQ(align.optimizer().min_lr(), 1e-5);
  EXPECT_EQ(align.optimizer().schedule(), proto::COSINE);
  EXPECT_TRUE(align.optimizer().has_beta2());
  EXPECT_EQ(align.optimizer().beta2(), 0.95);
  EXPECT_EQ(align.steps(), 100);
  const proto::Train& distill = config.job(2).train();
  EXPECT_EQ(distill.optimizer().lr(), 3e-5);  // the config's, not the stage's
  EXPECT_EQ(distill.optimizer().min_lr(), 1e-5);
  EXPECT_EQ(distill.batch().sequences(), 8);
  const proto::Train& finetune = config.job(3).train();
  EXPECT_EQ(finetune.optimizer().schedule(), proto::CONSTANT);
  EXPECT_EQ(finetune.data().sequence_length(), 16384);
  EXPECT_EQ(finetune.batch().sequences(), 128);
  EXPECT_FALSE(finetune.has_attn_use_rope()) << "what has no default stays the method's";
  EXPECT_FALSE(finetune.has_validation());
}

TEST(Config, PutsLayoutAndPrecisionIntoEveryJob) {
  const Config config = pipeline();
  EXPECT_EQ(config.job(0).layout().tensor(), 2);
  EXPECT_EQ(config.job(2).layout().tensor(), 1);
  EXPECT_EQ(config.job(2).precision(), proto::FP64);
  const Config one = job_config(config, 2);
  ASSERT_EQ(one.job_size(), 1);
  EXPECT_EQ(one.layout().tensor(), 1);
  EXPECT_EQ(one.job(0).name(), "distill");
}

TEST(Config, CompletesReferences) {
  const Config config = pipeline();
  EXPECT_EQ(config.job(1).select().mixers(), "job:align");
  EXPECT_EQ(config.job(4).export_().from(), "job:finetune");
}

TEST(Config, TextReadsBackToTheSameConfig) {
  Config config = pipeline();
  config.mutable_job(0)->mutable_train()->mutable_optimizer()->set_lr(0.1 + 0.2);
  config.set_output("läufe/\"x\"\n");
  const Config again = parse_config(to_text(config), "again");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again)) << to_text(again);
  const Config resolved = resolve(again, "again");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, resolved));
}

TEST(Config, AutoStartsWhereEarlierReadersOfTheSameTokensEnd) {
  const Config config = pipeline();
  EXPECT_EQ(config.job(0).train().data().first_sample(), 0);
  // align reads 100 * 32 * 512 tokens = 1638.4 samples of 1000.
  EXPECT_EQ(config.job(2).train().data().first_sample(), 1639);
  // distill ends at (1639 + 24) * 1000 tokens of a.h5 = 101.5 samples of 16384, and half of the samples are of a.h5.
  EXPECT_EQ(config.job(3).train().data().first_sample(), 2 * 102 + 1);
}

constexpr std::string_view kListOfFiles = R"(
job { name: "first" train { stage: PRETRAIN model: "m" steps: 10
  data { tokens: "a.h5" tokens: "b.h5" sequence_length: 64 } batch { sequences: 8 } } }
job { name: "second" needs: "first" train { stage: PRETRAIN model: "m" steps: 1
  data { tokens: "a.h5" tokens: "b.h5" sequence_length: 128 } batch { sequences: 8 } } }
)";

TEST(Config, AutoStartsBehindAListOfFilesReadAsOne) {
  // 80 samples of 64, and one more for what each of the two files may leave over: 82 * 64 tokens are 41 samples of 128,
  // and again one more a file.
  const Config config = resolve(parse_config(kListOfFiles, "c"), "c");
  EXPECT_EQ(config.job(1).train().data().first_sample(), 41 + 2);
}

TEST(Config, AutoRefusesWhatDoesNotTellWhereEarlierReadersEnd) {
  Config config = parse_config(kListOfFiles, "c");
  config.mutable_job(1)->mutable_train()->mutable_data()->mutable_tokens()->RemoveLast();
  EXPECT_TRUE(
      contains(error_of([&] { (void)resolve(config, "c"); }), "reads a.h5 in another list"));
  apply_override(config, "job[second].train.data.first_sample=7");
  EXPECT_EQ(resolve(config, "c").job(1).train().data().first_sample(), 7);
}

TEST(Config, AutoKnowsAFileUnderAnySpelling) {
  Config config = parse_config(kListOfFiles, "c");
  for (int job = 0; job < 2; ++job)
    config.mutable_job(job)->mutable_train()->mutable_data()->mutable_tokens()->RemoveLast();
  config.mutable_job(1)->mutable_train()->mutable_data()->set_tokens(0, "./x/../a.h5");
  EXPECT_EQ(resolve(config, "c").job(1).train().data().first_sample(), 40);
}

TEST(Config, AutoKeepsApartOnlyWhatReadsTheSameTokens) {
  Config config = parse_config(kPipeline, "c");
  apply_override(config, "job[distill].train.data.tokens=c.h5");
  proto::Data& data = *config.mutable_job(3)->mutable_train()->mutable_data();
  data.Clear();
  data.add_tokens("c.h5");
  data.set_sequence_length(1000);
  const Config resolved = resolve(config, "c");
  EXPECT_EQ(resolved.job(2).train().data().first_sample(), 0);
  EXPECT_EQ(resolved.job(3).train().data().first_sample(), 24);
}

TEST(Config, AutoCountsFromAnExplicitFirstSample) {
  Config config = parse_config(kPipeline, "c");
  apply_override(config, "job[align].train.data.first_sample=1000");
  apply_override(config, "job[distill].train.data.sequence_length=512");
  EXPECT_EQ(resolve(config, "c").job(2).train().data().first_sample(), 1000 + 3200);
}

TEST(Config, AutoOfAStoredJobStays) {
  const Config before = pipeline();
  std::map<std::string, Config> stored = {{"distill", job_config(before, 2)}};
  Config longer = parse_config(kPipeline, "c");
  apply_override(longer, "job[align].train.steps=500");
  const Config resolved = resolve(longer, "c", stored);
  EXPECT_EQ(resolved.job(2).train().data().first_sample(), 1639);
  // What is not stored starts behind everything: align's 500 * 32 * 512 tokens are 500 samples of 16384.
  EXPECT_EQ(resolved.job(3).train().data().first_sample(), 2 * 500 + 1);
}

TEST(Config, FirstSampleTakesWordAndNumber) {
  const auto first = [](std::string_view text) {
    return parse_config(text, "c").job(0).train().data().first_sample();
  };
  EXPECT_EQ(first("job { train { data { first_sample: AUTO } } }"), -1);
  EXPECT_EQ(first("job { train { data { first_sample:AUTO} } }"), -1);
  EXPECT_EQ(first("job { train { data {\n\ttokens: 'ä'\tfirst_sample :\n\t\tAUTO # x\n} } }"), -1);
  EXPECT_EQ(first("job { train { data { first_sample: 1000 } } }"), 1000);
  EXPECT_EQ(parse_config("output: 'first_sample: AUTO'", "c").output(), "first_sample: AUTO");
  EXPECT_EQ(parse_config("device: AUTO", "c").device(), proto::AUTO);
  EXPECT_TRUE(contains(parse_error("seed: AUTO"), "c:1:7"));
}

TEST(Config, ErrorsNamePlaceAndNearestName) {
  EXPECT_EQ(parse_error("seed: 1\njob { train { stepz: 3 } }"),
            "c:2:20: Train has no field \"stepz\"; did you mean \"steps\"?");
  EXPECT_TRUE(contains(parse_error("job { steps: 3 }"),
                       "Job has no field \"steps\"; it belongs into Train"));
  EXPECT_TRUE(contains(parse_error("job { train { stage: ALING } }"),
                       "\"ALING\" is no value of stage; did you mean \"ALIGN\"?"));
  EXPECT_TRUE(contains(parse_error("precision: FP16"), "BF16, FP32, FP64"));
  EXPECT_TRUE(contains(parse_error("seed: 1\nseed: 2"), "c:2:"));
  EXPECT_TRUE(contains(parse_error("seed: \"x"), "c:1:"));
  EXPECT_TRUE(contains(parse_error("job { name: \"a\""), "c:1:"));
  EXPECT_TRUE(contains(parse_error("[type.googleapis.com/x] {}"), "c:1:"));
  EXPECT_TRUE(contains(parse_error("seed: 99999999999999999999"), "c:1:"));
  EXPECT_TRUE(contains(parse_error(std::string(5 << 20, ' ')), "bytes"));
  EXPECT_TRUE(
      contains(error_of([] { (void)read_config("no/such/file.cfg"); }), "no/such/file.cfg"));
}

TEST(Config, OverridesTakeThePathsOfTheFile) {
  Config config = parse_config(kPipeline, "c");
  apply_override(config, "job[0].train.optimizer.lr=3e-4");
  apply_override(config, "job[distill].train.steps=9");
  apply_override(config, "train.optimizer.beta1=0.8");
  apply_override(config, "output=runs/other run");
  apply_override(config, "precision=FP32");
  apply_override(config, "layout={tensor: 4}");
  apply_override(config, "job[finetune].train.keep_attention=[1, 3]");
  apply_override(config, "job[finetune].train.data.tokens=[x.h5,y=z.h5]");
  apply_override(config, "job[finetune].train.data.first_sample=AUTO");
  apply_override(config, "export.to='quoted'");
  EXPECT_EQ(config.job(0).train().optimizer().lr(), 3e-4);
  EXPECT_EQ(config.job(2).train().steps(), 9);
  for (const int job : {0, 2, 3}) EXPECT_EQ(config.job(job).train().optimizer().beta1(), 0.8);
  EXPECT_FALSE(config.job(1).has_train()) << "the path names training jobs only";
  EXPECT_EQ(config.output(), "runs/other run");
  EXPECT_EQ(config.precision(), proto::FP32);
  EXPECT_EQ(config.layout().tensor(), 4);
  const proto::Train& finetune = config.job(3).train();
  ASSERT_EQ(finetune.keep_attention_size(), 2);
  EXPECT_EQ(finetune.keep_attention(1), 3);
  ASSERT_EQ(finetune.data().tokens_size(), 2);
  EXPECT_EQ(finetune.data().tokens(1), "y=z.h5");
  EXPECT_EQ(finetune.data().first_sample(), -1);
  EXPECT_EQ(config.job(4).export_().to(), "quoted");
  apply_override(config, "job[finetune].train.keep_attention=[]");
  EXPECT_EQ(config.job(3).train().keep_attention_size(), 0);
  apply_override(config, "job[finetune].train.keep_attention=5");
  EXPECT_EQ(config.job(3).train().keep_attention(0), 5);
}

TEST(Config, OverrideErrorsSayWhatIsWrong) {
  EXPECT_TRUE(contains(override_error("train.optimiser.lr=1"), "did you mean \"optimizer\"?"));
  EXPECT_TRUE(contains(override_error("train.steps"), "expected path=value"));
  EXPECT_TRUE(contains(override_error("train.steps=many"), "\"many\" does not fit steps"));
  EXPECT_TRUE(contains(override_error("train.steps=1 seed: 2"), "does not fit steps"));
  EXPECT_TRUE(contains(override_error("train.stage=DISTIL"), "did you mean \"DISTILL\"?"));
  EXPECT_TRUE(
      contains(override_error("job[9].train.steps=1"), "no job[9]; there are 5: align, select"));
  EXPECT_TRUE(contains(override_error("job[aling].train.steps=1"), "no job[aling]"));
  EXPECT_TRUE(contains(override_error("job.train.steps=1"), "job needs an index or a name"));
  EXPECT_TRUE(contains(override_error("layout[0].tensor=1"), "takes no index"));
  EXPECT_TRUE(contains(override_error("seed.x=1"), "seed has no fields"));
  EXPECT_TRUE(contains(override_error("evaluate.sequences=1"), "the config has no evaluate job"));
  EXPECT_TRUE(contains(override_error("a..b=1"), "--set a..b=1"));
  EXPECT_TRUE(contains(override_error("=1"), "is no field"));
  EXPECT_TRUE(contains(override_error("job[0].report.title=x"), "report: it has train"));
  EXPECT_TRUE(contains(override_error("job[0]={}"), "an element of job"));
  EXPECT_TRUE(contains(override_error("train.keep_attention=[1,,2]"), "does not fit"));
}

TEST(Config, OrdersJobsByTheirNeeds) {
  const auto order = [](std::string_view text) { return job_order(parse_config(text, "c")); };
  EXPECT_EQ(order("job { name: 'c' needs: 'b' } job { name: 'b' needs: 'a' } job { name: 'a' } job "
                  "{ name: 'd' }"),
            (std::vector<int>{2, 1, 0, 3}));
  EXPECT_EQ(job_order(pipeline()), (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(contains(error_of([&] {
                         (void)order(
                             "job { name: 'a' needs: 'b' } job { name: 'b' needs: 'c' } "
                             "job { name: 'c' needs: 'b' }");
                       }),
                       "b needs c needs b"));
  EXPECT_TRUE(
      contains(error_of([&] { (void)order("job { name: 'a' needs: 'a' }"); }), "a needs a"));
  EXPECT_TRUE(contains(
      error_of([&] { (void)order("job { name: 'align' } job { name: 'b' needs: 'algin' }"); }),
      "did you mean \"align\"?"));
  EXPECT_TRUE(
      contains(error_of([&] { (void)order("job { name: 'a' } job { name: 'a' }"); }), "two jobs"));
  for (const char* name : {"", "../x", "a/b", "a b", ".", "-x", "ä"}) {
    EXPECT_TRUE(
        contains(error_of([&] { (void)order(str("job { name: '", name, "' }")); }), "job[0].name"))
        << name;
  }
}

struct BadConfig {
  const char* assignment;
  const char* message;
};

class BadConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedWithItsPath) {
  Config config = parse_config(kPipeline, "c");
  apply_override(config, GetParam().assignment);
  const std::string message = error_of([&] { (void)resolve(config, "tiny.cfg"); });
  EXPECT_TRUE(contains(message, GetParam().message))
      << GetParam().assignment << " gives: " << message;
  EXPECT_TRUE(message.starts_with("tiny.cfg: "));
}

INSTANTIATE_TEST_SUITE_P(
    Config, BadConfigTest,
    testing::Values(
        BadConfig{"output=", "output is empty"}, BadConfig{"threads=-1", "threads is -1"},
        BadConfig{"seed=-1", "seed is -1"}, BadConfig{"layout.tensor=0", "layout.tensor is 0"},
        BadConfig{"layout.bucket_elements=0", "layout.bucket_elements is 0: it must be 1 to"},
        BadConfig{"monitor.log_every_seconds=nan", "monitor.log_every_seconds"},
        BadConfig{"job[0].seed=-1", "job[align].seed is -1"},
        BadConfig{"job[0].ranks=-2", "job[align].ranks is -2"},
        BadConfig{"job[0].train.steps=0", "job[align].train.steps is 0: it must be 1 to"},
        BadConfig{"job[0].train.teacher=", "job[align].train.teacher is missing"},
        BadConfig{"job[0].train.model=x", "model is for PRETRAIN alone"},
        BadConfig{"job[0].train.keep_attention=1", "ALIGN trains a mixer for every layer"},
        BadConfig{"job[0].train.data.tokens=[]", "job[align].train.data.tokens is missing"},
        BadConfig{"job[0].train.data.weight=[1,2]", "weight has 2 values for 1 token files"},
        BadConfig{"job[0].train.data.weight=-1", "weight is -1"},
        BadConfig{"job[0].train.data.sequence_length=0", "sequence_length is 0"},
        BadConfig{"job[0].train.data.first_sample=-2", "first_sample is -2"},
        BadConfig{"job[0].train.batch.sequences=0", "batch.sequences is 0"},
        BadConfig{"job[0].train.batch.micro_sequences=-1", "micro_sequences is -1"},
        BadConfig{"job[0].train.optimizer.lr=-1", "optimizer.lr is -1"},
        BadConfig{"job[0].train.optimizer.lr=inf", "optimizer.lr is inf"},
        BadConfig{"job[0].train.optimizer.lr=1e-6", "min_lr is 1e-05, above lr 1e-06"},
        BadConfig{"job[0].train.optimizer.beta1=1", "beta1 is 1"},
        BadConfig{"job[0].train.optimizer.eps=0", "eps is 0"},
        BadConfig{"job[0].train.checkpoint.keep_last=0", "keep_last is 0"},
        BadConfig{"job[0].train.guard.spike_factor=1", "spike_factor is 1: it must be above 1"},
        BadConfig{"job[0].train.guard.spike_factor=nan", "guard.spike_factor is nan"},
        BadConfig{"job[0].train.guard.spike_window=0", "guard.spike_window is 0"},
        BadConfig{"job[0].train.guard.rollback_after=-1", "guard.rollback_after is -1"},
        BadConfig{"job[0].train.guard.max_rollbacks=-1", "guard.max_rollbacks is -1"},
        BadConfig{"job[0].train.checkpoint.keep_every=-1", "keep_every is -1"},
        BadConfig{"job[0].train.checkpoint.keep_best=true", "there is no validation to say"},
        BadConfig{"job[0].train.validation.every_steps=5", "validation.tokens is missing"},
        BadConfig{"job[0].train.lightning_nkv=0", "lightning_nkv is 0"},
        BadConfig{"job[1].select.keep=-1", "select.keep is -1"},
        BadConfig{"job[1].select.tasks=[]", "give either tasks to measure or a file of scores"},
        BadConfig{"job[1].select.scores=x", "give either tasks to measure or a file of scores"},
        BadConfig{"job[1].select.scores=job:align", "job align is no select job that measures"},
        BadConfig{"job[1].select.mixers=job:distill", "add needs: \"distill\""},
        BadConfig{"job[2].train.keep_attention=[1,1]", "names layer 1 twice"},
        BadConfig{"job[2].train.keep_attention=[1]", "exclude each other"},
        BadConfig{"job[2].train.keep_attention_from=", "say which layers stay attention"},
        BadConfig{"job[2].train.keep_attention_from=select", "must be \"job:NAME\""},
        BadConfig{"job[2].train.keep_attention_from=job:align", "job align is no select job"},
        BadConfig{"job[2].train.student=job:algn", "did you mean \"align\"?"},
        BadConfig{"job[2].train.student=job:finetune", "may not have ended by then"},
        BadConfig{"job[2].train.teacher=job:align", "job align is no job that gives a model"},
        BadConfig{"job[3].train.student=", "student is missing"},
        BadConfig{"job[4].export.to=", "export.to is missing"},
        BadConfig{"job[4].export.attn_logits_scaling=500", "must be \"hype A\""},
        BadConfig{"job[4].export.attn_logits_scaling=hype 1", "must be \"hype A\""},
        BadConfig{"job[4].export.attn_logits_scaling=hype 5x", "must be \"hype A\""},
        BadConfig{"job[4].needs=select", "export.from is missing"},
        BadConfig{"train.steps=1000000000000", "more than can be counted"}));

TEST(Config, RefusesAJobWithoutWorkAndAConfigWithoutJobs) {
  EXPECT_TRUE(contains(resolve_error("seed: 1"), "the config has no job"));
  EXPECT_TRUE(contains(resolve_error("job { name: 'a' }"), "job[a] has no work"));
  EXPECT_TRUE(
      contains(resolve_error("job { name: 'a' train {} }"), "job[a].train.stage is missing"));
  EXPECT_TRUE(contains(resolve_error("job { name: 'a' evaluate {} }"), "models is missing"));
  EXPECT_TRUE(contains(
      resolve_error("job { name: 'a' report {} } job { name: 'b' needs: 'a' evaluate { models: 'm' "
                    "tokens: 't.h5' keep_attention_from: 'job:a' } }"),
      "job a is no select job"));
  EXPECT_EQ(resolve_error("job { name: 'a' report {} }"), "");
}

TEST(Config, ResumeIsForbiddenByWhatChangesTheResult) {
  const Config stored = job_config(pipeline(), 2);
  const auto changes = [&](std::vector<std::string> assignments) {
    Config config = parse_config(kPipeline, "c");
    for (const std::string& assignment : assignments) apply_override(config, assignment);
    return changes_that_forbid_resume(stored, job_config(resolve(config, "c"), 2));
  };
  EXPECT_TRUE(changes({}).empty());
  EXPECT_TRUE(
      changes({"job[2].train.steps=50", "job[2].layout={tensor: 4}", "layout.tensor=3", "threads=7",
               "job[2].train.checkpoint.every_steps=1", "monitor.tensorboard=false", "output=x",
               "job[2].train.validation={tokens: 'v.h5'}", "job[2].train.batch.micro_sequences=2",
               "job[2].train.recompute=true", "job[2].ranks=2", "job[2].precision=FP64",
               "job[2].train.guard.rollback_after=7"})
          .empty());
  const std::vector<FieldChange> found =
      changes({"seed=4", "job[2].train.optimizer.lr=4e-5", "job[2].train.data.tokens=[a.h5,b.h5]",
               "job[2].train.data.weight=[1,1]", "job[2].train.attn_use_rope=true"});
  std::string paths;
  for (const FieldChange& change : found) paths += change.path + " ";
  ASSERT_EQ(found.size(), 7U) << paths;
  EXPECT_EQ(found[0].path, "seed");
  EXPECT_EQ(found[0].stored, "3");
  EXPECT_EQ(found[0].now, "4");
  EXPECT_EQ(found[1].path, "job[distill].train.data.tokens[1]");
  EXPECT_EQ(found[1].stored, "");
  EXPECT_EQ(found[1].now, "\"b.h5\"");
  EXPECT_EQ(found[2].path, "job[distill].train.data.weight[0]");
  EXPECT_EQ(found[3].path, "job[distill].train.data.weight[1]");
  EXPECT_EQ(found[4].path, "job[distill].train.data.first_sample") << "it moves with the files";
  EXPECT_EQ(found[5].path, "job[distill].train.optimizer.lr");
  EXPECT_EQ(found[5].stored, "3e-05");
  EXPECT_EQ(found[6].path, "job[distill].train.attn_use_rope");
}

}  // namespace
}  // namespace halo::launch
