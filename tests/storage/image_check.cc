#include "tests/storage/image_check.h"

#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "storage/database.h"
#include "storage/log_reader.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/store_text.h"
#include "tests/storage/unsynced_file_system.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogState;

constexpr GroupId kLateGroup(Workload::kGroups + 1);

class ImageCheck {
 public:
  ImageCheck(const RecordedLife& life, const CrashImage& image, std::string boot_id, std::string directory)
      : life_(life), image_(image), expected_(life.At(image.cut, power_cut())), boot_id_(std::move(boot_id)) {
    options_.directory = std::move(directory);
    options_.memory_bytes = 1 << 20;
    options_.boot_id = boot_id_;
    options_.file_system = std::make_shared<UnsyncedFileSystem>();
  }

  absl::StatusOr<ImageState> Run() {
    BuildImage(life_.log, image_, options_.directory);
    ImageState state;
    if (absl::Status status = First(&state); !status.ok()) return status;
    if (absl::Status status = Second(); !status.ok()) return status;
    if (absl::Status status = Third(); !status.ok()) return status;
    if (absl::Status status = Fourth(&state); !status.ok()) return status;
    return state;
  }

 private:
  bool power_cut() const { return image_.losses != Losses::kNone; }
  static absl::Status Wrong(const std::string& what) { return absl::DataLossError(what); }

  // Opens the store and reads all of it.
  absl::Status Open() {
    store_.reset();
    auto store = RocksLogStore::Open(options_);
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    absl::StatusOr<std::string> text = TextOf(*store_);
    if (!text.ok()) return text.status();
    text_ = *std::move(text);
    return absl::OkStatus();
  }

  absl::Status First(ImageState* state) {
    if (absl::Status status = Open(); !status.ok()) return status;
    if (absl::Status status = CheckMarks(); !status.ok()) return status;
    const std::optional<size_t> step = FindStep();
    if (!step) return NotAStep();
    *state = {*step, expected_.last - *step, store_->os_crashed(), false};
    return absl::OkStatus();
  }

  absl::Status CheckMarks() {
    const bool clean = store_->opened_clean();
    if (clean && !expected_.may_be_clean) return Wrong("it was in use, but opens as clean");
    if (!clean && expected_.must_be_clean) return Wrong("it was closed, but opens as unclean");
    if (clean) expected_.first = expected_.last;
    const bool os_crashed = life_.os_crashed || (power_cut() && !clean);
    if (store_->os_crashed() != os_crashed) return Wrong(absl::StrCat("os_crashed() is ", !os_crashed));
    return absl::OkStatus();
  }

  std::optional<size_t> FindStep() const {
    for (size_t step = expected_.last + 1; step > expected_.first; --step) {
      if (life_.steps[step - 1].text == text_) return step - 1;
    }
    return std::nullopt;
  }

  absl::Status NotAStep() const {
    std::string found_at;
    for (size_t step = 0; step < life_.steps.size(); ++step) {
      if (life_.steps[step].text == text_) absl::StrAppend(&found_at, " ", step);
    }
    return Wrong(absl::StrCat("holds the state after ",
                              found_at.empty() ? "none of the steps" : absl::StrCat("step", found_at),
                              " instead of one from ", expected_.first, " to ", expected_.last, "; it holds\n", text_,
                              "after step ", expected_.first, "\n", life_.steps[expected_.first].text, "after step ",
                              expected_.last, "\n", life_.steps[expected_.last].text));
  }

  absl::Status Second() {
    const std::string first_text = text_;
    if (absl::Status status = Open(); !status.ok()) return status;
    if (text_ != first_text) return Wrong(absl::StrCat("a second start finds\n", text_, "instead of\n", first_text));
    if (store_->opened_clean()) return Wrong("a second start is clean, but nobody closed the store");
    return WriteMore();
  }

  absl::Status WriteMore() {
    if (absl::Status status = store_->Create(kLateGroup, {}); !status.ok()) return status;
    const auto groups = store_->List();
    if (!groups.ok()) return groups.status();
    std::unique_ptr<raft::Round> round = store_->NewRound();
    for (int i = 0; i < 3; ++i) {
      for (GroupId group : *groups) {
        const auto state = store_->Open(group);
        if (!state.ok()) return state.status();
        round->Append(group, NextEntry(*state));
      }
      if (absl::Status status = store_->Write(*round); !status.ok()) return status;
    }
    absl::StatusOr<std::string> text = TextOf(*store_);
    if (!text.ok()) return text.status();
    text_ = *std::move(text);
    std::promise<absl::Status> synced;
    store_->Sync([&synced](absl::Status status) { synced.set_value(std::move(status)); });
    return synced.get_future().get();
  }

  static Entry NextEntry(const LogState& state) {
    Entry entry;
    entry.header.record_count = 1;
    entry.header.term = state.last_term;
    entry.header.index = state.last_index + 1;
    entry.header.base_offset = state.log_end;
    entry.header.append_time = state.last_append_time;
    entry.payload = absl::Cord(std::string(30000, 'm'));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    return entry;
  }

  absl::Status Third() {
    const std::string written_text = text_;
    const bool in_order = image_.seed % 2 == 0;
    if (in_order) {
      if (absl::Status status = store_->Close(); !status.ok()) return status;
    }
    if (absl::Status status = Open(); !status.ok()) return status;
    if (text_ != written_text) return Wrong(absl::StrCat("a third start finds\n", text_, "instead of\n", written_text));
    if (store_->opened_clean() != in_order) return Wrong(absl::StrCat("a third start is clean: ", !in_order));
    return absl::OkStatus();
  }

  absl::Status Fourth(ImageState* state) {
    constexpr int kStartsMax = 20;  // one may be stopped between the compaction and the removal of the marks
    const std::string kept_text = text_;
    store_.reset();
    std::promise<absl::Status> fatal;
    std::future<absl::Status> failed = fatal.get_future();
    options_.on_fatal = [&fatal](absl::Status status) { fatal.set_value(std::move(status)); };
    options_.reclaim_delay = std::chrono::milliseconds(0);
    for (int starts = 0;; ++starts) {
      const absl::StatusOr<bool> marked = IsMarked();
      if (!marked.ok()) return marked.status();
      if (!*marked) break;
      if (starts == kStartsMax) return Wrong("what removed logs left is never compacted");
      state->reclaimed = true;
      if (absl::Status status = Open(); !status.ok()) return status;
      while (store_->Stats().reclaims == 0 && !IsReady(failed)) std::this_thread::yield();
      store_.reset();
      if (IsReady(failed)) return failed.get();
    }
    if (!state->reclaimed) return absl::OkStatus();
    if (absl::Status status = Open(); !status.ok()) return status;
    if (text_ != kept_text) return Wrong(absl::StrCat("compacted, it holds\n", text_, "instead of\n", kept_text));
    store_.reset();
    return absl::OkStatus();
  }

  static bool IsReady(const std::future<absl::Status>& status) {
    return status.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  // Whether removed logs wait for their compaction in the store, which is closed.
  absl::StatusOr<bool> IsMarked() const {
    StoreHealth health(nullptr);
    const auto database = Database::Open(options_, health);
    if (!database.ok()) return database.status();
    const auto marks = LogReader((*database)->db(), (*database)->payloads()).RemovedGroupsKeys();
    if (!marks.ok()) return marks.status();
    return !marks->empty();
  }

  const RecordedLife& life_;
  const CrashImage& image_;
  RecordedLife::Expected expected_;
  const std::string boot_id_;
  RocksLogStore::Options options_;
  std::unique_ptr<RocksLogStore> store_;
  std::string text_;  // of what the store holds now
};

}  // namespace

absl::StatusOr<ImageState> CheckImage(const RecordedLife& life, const CrashImage& image, const std::string& boot_id,
                                      const std::string& directory) {
  return ImageCheck(life, image, boot_id, directory).Run();
}

}  // namespace millrace::storage
