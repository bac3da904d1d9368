// Goal: whatever a crash leaves of the disk, the store opens it, has all that it promised, and nothing else. Method: a store
// lives on a recorded disk; from the record, states that a crash at any operation could have left are built in directories
// of their own and opened (crash_image.h, image_check.h). A life begins with what the previous one's crash left, so that
// crashes during recovery come too.
//
//     storage_crash_test --seed=7 --images=10000          // MILLRACE_SEED, MILLRACE_CRASH_IMAGES do the same
//     storage_crash_test --any                              // also manifests with gaps: storage/README.md
//     storage_crash_test --replay=FILE --image=812/mixed/3  // as a failure printed them
//
// RocksDB's background threads make two recordings from one seed differ: the record of a life that failed is kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/crash_image.h"
#include "tests/storage/image_check.h"
#include "tests/storage/recorded_life.h"
#include "tests/storage/recording_file_system.h"
#include "tests/storage/store_text.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

constexpr int kImagesOfALife = 60;
constexpr int kFailuresMax = 5;

#ifdef __SANITIZE_ADDRESS__
constexpr int kImages = 120;
#else
constexpr int kImages = 600;
#endif

struct Arguments {
  uint64_t seed = 0;
  int images = kImages;
  std::string replay;
  std::string image;
  bool any = false;
} arguments;

Losses DrawLosses(Workload& draw) {
  if (draw.OneIn(8)) return Losses::kNone;
  if (draw.OneIn(6)) return Losses::kAll;
  if (draw.OneIn(8)) return Losses::kZeroes;
  if (draw.OneIn(4)) return Losses::kInOrder;
  return arguments.any ? Losses::kAny : Losses::kMixed;
}

// Half of them right behind a sync or a change of a name: what is ordered by them may come out of order there.
CrashImage DrawImage(const RecordedLife& life, Workload& draw) {
  size_t cut = life.begin + static_cast<size_t>(draw.UpTo(static_cast<int64_t>(life.log.size() - life.begin)));
  if (draw.OneIn(2)) {
    while (cut > life.begin && life.log[cut - 1].kind == DiskOp::Kind::kWrite) --cut;
  }
  return {.cut = cut, .losses = DrawLosses(draw), .seed = static_cast<uint64_t>(draw.UpTo(1 << 30))};
}

std::string BootIdAfter(const RecordedLife& life, const CrashImage& image) {
  return image.losses == Losses::kNone ? life.boot_id : life.boot_id + "'";
}

std::string Keep(const RecordedLife& life, uint64_t seed) {
  const std::string path = std::filesystem::temp_directory_path() / absl::StrCat("millrace-crash-", seed);
  std::ofstream out(path, std::ios::binary);
  life.Save(out);
  return path;
}

class CrashTest : public testing::Test {
 protected:
  void SetUp() override { std::cout << "seed " << arguments.seed << "\n"; }

  // Removes what it was built in.
  absl::StatusOr<ImageState> Check(const RecordedLife& life, const CrashImage& image) {
    const std::string image_directory = directory_ / "image";
    absl::StatusOr<ImageState> state = CheckImage(life, image, BootIdAfter(life, image), image_directory);
    std::filesystem::remove_all(image_directory);
    return state;
  }

  // In `next.directory`, from the image on.
  static LifeOptions LifeAfter(const RecordedLife& life, const CrashImage& image, const ImageState& state,
                               LifeOptions next) {
    std::filesystem::remove_all(next.directory);
    BuildImage(life.log, image, next.directory);
    next.boot_id = BootIdAfter(life, image);
    next.logs = life.steps[state.step].logs;
    next.os_crashed = state.os_crashed;
    return next;
  }

  std::string FindMissingSync(const std::string& name, std::optional<FileKind> kind);
  absl::StatusOr<std::string> TextLeftOf(const DiskLog& log);
  int CountBrokenAcks(const std::shared_ptr<RecordingFileSystem>& files, const std::string& store_directory);

  TempDir directory_;
};

// With the operations that led to it; the image stays where it is said to be.
int Replay() {
  std::ifstream in(arguments.replay, std::ios::binary);
  const std::optional<CrashImage> image = CrashImage::Parse(arguments.image);
  if (!in || !image) {
    std::cerr << "--replay names a file that a failure kept, --image one of its images\n";
    return 2;
  }
  const RecordedLife life = RecordedLife::Load(in);
  for (size_t i = image->cut - std::min<size_t>(image->cut, 60); i < image->cut; ++i) {
    std::cout << i << " " << ToString(life.log[i]) << "\n";
  }
  const std::string directory = arguments.replay + ".image";
  std::filesystem::remove_all(directory);
  const auto state = CheckImage(life, *image, BootIdAfter(life, *image), directory);
  std::cout << "in " << directory << ": "
            << (state.ok() ? absl::StrCat("step ", state->step) : state.status().ToString()) << "\n";
  return state.ok() ? 0 : 1;
}

TEST_F(CrashTest, EveryImageIsAStateThatWasWrittenAndHasAllThatWasAcked) {
  Workload draw(arguments.seed);
  LifeOptions options = {.directory = directory_ / "0", .seed = arguments.seed};
  int failures = 0;
  int with_losses = 0;
  int reclaimed = 0;
  for (int images = 0; images < arguments.images;) {
    const RecordedLife life = Live(options, std::make_shared<RecordingFileSystem>(options.directory));
    LifeOptions next = {.directory = directory_ / absl::StrCat(images + 1), .seed = options.seed + 1};
    for (int i = 0; i < kImagesOfALife && images < arguments.images; ++i, ++images) {
      const CrashImage image = DrawImage(life, draw);
      const auto state = Check(life, image);
      if (!state.ok()) {
        ADD_FAILURE() << state.status() << "\nagain: --replay=" << Keep(life, options.seed)
                      << " --image=" << image.ToString();
        if (++failures == kFailuresMax) return;
        continue;
      }
      with_losses += state->steps_lost > 0;
      reclaimed += state->reclaimed;
      if (next.logs.empty() || draw.OneIn(20)) next = LifeAfter(life, image, *state, next);
    }
    std::filesystem::remove_all(options.directory);
    options = next;
  }
  std::cout << arguments.images << " images, " << with_losses << " of them without something that was written, "
            << reclaimed << " with removed logs to be compacted\n";
  EXPECT_GT(with_losses, 0);
  EXPECT_TRUE(reclaimed > 0 || arguments.images < kImages);
}

// The first image that shows that syncs of one kind were forgotten from some moment on.
std::string CrashTest::FindMissingSync(const std::string& name, std::optional<FileKind> kind) {
  constexpr int kLives = 6;
  constexpr int kImages = 50;
  for (int life_number = 0; life_number < kLives; ++life_number) {
    const uint64_t seed = arguments.seed + static_cast<uint64_t>(life_number);
    Workload draw(seed);
    const std::string life_directory = directory_ / absl::StrCat(name, life_number);
    auto files = std::make_shared<RecordingFileSystem>(life_directory);
    files->SwallowSyncs(kind, /*from=*/100);
    const RecordedLife life = Live({.directory = life_directory, .seed = seed, .rounds = 200}, files);
    std::filesystem::remove_all(life_directory);
    for (int i = 0; i < kImages; ++i) {
      CrashImage image = DrawImage(life, draw);
      if (draw.OneIn(2)) image.losses = Losses::kAll;
      const auto state = Check(life, image);
      if (!state.ok()) return absl::StrCat("life ", life_number, ", image ", i, ": ", state.status().message());
    }
  }
  return "";
}

TEST_F(CrashTest, AMissingSyncIsSeen) {
  const std::map<std::string, std::optional<FileKind>> kinds = {
      {"WAL", FileKind::kWal},           {"moved", FileKind::kMoved},   {"SST", FileKind::kSst},
      {"manifest", FileKind::kManifest}, {"CURRENT", FileKind::kOther}, {"directory", std::nullopt}};
  for (const auto& [name, kind] : kinds) {
    const std::string found = FindMissingSync(name, kind);
    EXPECT_FALSE(found.empty()) << "no image shows that syncs of a " << name << " are missing";
    std::cout << name << ": " << found.substr(0, 120) << "\n";
  }
}

// What a store finds if nothing survives but what was synced.
absl::StatusOr<std::string> CrashTest::TextLeftOf(const DiskLog& log) {
  RocksLogStore::Options options;
  options.directory = directory_ / "left";
  std::filesystem::remove_all(options.directory);
  BuildImage(log, {.cut = log.size(), .losses = Losses::kAll}, options.directory);
  const auto store = RocksLogStore::Open(options);
  if (!store.ok()) return store.status();
  return TextOf(**store);
}

// The plainest power cut, at the moment of each ack. Returns how many acks it broke.
int CrashTest::CountBrokenAcks(const std::shared_ptr<RecordingFileSystem>& files, const std::string& store_directory) {
  RocksLogStore::Options options;
  options.directory = store_directory;
  options.file_system = files;
  const std::unique_ptr<RocksLogStore> store = RocksLogStore::Open(options).value();
  Workload draw(arguments.seed);
  Workload::Logs logs;
  for (int group = 1; group <= Workload::kGroups; ++group) {
    logs.emplace(raft::GroupId(group), MemoryLog({}));
    MILLRACE_CHECK(store->Create(raft::GroupId(group), {}).ok());
    MILLRACE_CHECK(store->Open(raft::GroupId(group)).ok());
  }
  int broken = 0;
  const std::unique_ptr<raft::Round> round = store->NewRound();
  for (int acks = 0; acks < 20; ++acks) {
    for (int64_t rounds = draw.UpTo(2); rounds >= 0; --rounds) {
      draw.FillRound(logs, *round);
      MILLRACE_CHECK(store->Write(*round).ok());
    }
    std::promise<DiskLog> acked;
    store->Sync([&](const absl::Status& status) { acked.set_value(status.ok() ? files->log() : DiskLog()); });
    const auto text = TextLeftOf(acked.get_future().get());
    broken += !text.ok() || *text != TextOf(logs);
  }
  return broken;
}

TEST_F(CrashTest, WhatIsAckedSurvivesWithoutAnythingElse) {
  const std::string store_directory = directory_ / "honest";
  EXPECT_EQ(CountBrokenAcks(std::make_shared<RecordingFileSystem>(store_directory), store_directory), 0);
}

TEST_F(CrashTest, AnAckBeforeItsSyncIsSeen) {
  const std::string store_directory = directory_ / "hasty";
  auto files = std::make_shared<RecordingFileSystem>(store_directory);
  files->SwallowSyncs(FileKind::kWal);
  EXPECT_GT(CountBrokenAcks(files, store_directory), 0);
}

}  // namespace
}  // namespace millrace::storage

int main(int argc, char** argv) {
  using namespace millrace::storage;
  testing::InitGoogleTest(&argc, argv);
  if (const char* text = std::getenv("MILLRACE_SEED")) arguments.seed = std::strtoull(text, nullptr, 10);
  if (const char* text = std::getenv("MILLRACE_CRASH_IMAGES")) arguments.images = std::atoi(text);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--seed=")) {
      arguments.seed = std::strtoull(argv[i] + 7, nullptr, 10);
    } else if (argument.starts_with("--images=")) {
      arguments.images = std::atoi(argv[i] + 9);
    } else if (argument.starts_with("--replay=")) {
      arguments.replay = argument.substr(9);
    } else if (argument == "--any") {
      arguments.any = true;
    } else if (argument.starts_with("--image=")) {
      arguments.image = argument.substr(8);
    } else {
      std::cerr << "unknown argument " << argument << "\n";
      return 2;
    }
  }
  if (!arguments.replay.empty()) return Replay();
  if (arguments.seed == 0) arguments.seed = std::random_device()() + uint64_t{1};
  return RUN_ALL_TESTS();
}
