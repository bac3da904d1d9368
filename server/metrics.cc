#include "server/metrics.h"

#include <dirent.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <ctime>
#include <sstream>

#include "server/process_limits.h"

namespace millrace::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

template <typename T>
struct Row {
  T LoopMetrics::*member;
  const char* name;
  const char* help;
};

constexpr Row<Counter> kCounters[] = {
    {&LoopMetrics::bytes_in, "millrace_bytes_in_total", "Bytes of appended batches."},
    {&LoopMetrics::records_in, "millrace_records_in_total", "Records appended."},
    {&LoopMetrics::batches_in, "millrace_batches_in_total", "Record batches appended."},
    {&LoopMetrics::duplicates, "millrace_duplicate_batches_total",
     "Batches of idempotent producers that were stored before and answered with their first offset."},
    {&LoopMetrics::bytes_out, "millrace_bytes_out_total", "Bytes of batches, or of plain records, sent to readers."},
    {&LoopMetrics::records_out, "millrace_records_out_total", "Records sent to readers."},
    {&LoopMetrics::batches_out, "millrace_batches_out_total", "Record batches sent to readers."},
    {&LoopMetrics::cold_reads, "millrace_cold_reads_total",
     "Reads that were not served from recently appended batches."},
    {&LoopMetrics::slow_inline_writes, "millrace_slow_inline_writes_total",
     "Writes on an I/O thread that took over 1 ms."},
    {&LoopMetrics::retention_segments, "millrace_retention_segments_total", "Segments removed by retention."},
    {&LoopMetrics::retention_records, "millrace_retention_records_total", "Records removed by retention."},
    {&LoopMetrics::retention_bytes, "millrace_retention_bytes_total", "Bytes of batches removed by retention."},
};

constexpr Row<Gauge> kGauges[] = {
    {&LoopMetrics::produce_queue_bytes, "millrace_produce_queue_bytes",
     "Memory of batches received and not yet acked."},
    {&LoopMetrics::fetch_queue_bytes, "millrace_fetch_queue_bytes", "Bytes on their way to readers."},
    {&LoopMetrics::cold_read_rate, "millrace_cold_read_limit_bytes_per_second",
     "What readers of older batches may read while batches come in; adapts to how long syncs take."},
    {&LoopMetrics::under_replicated, "millrace_under_replicated_partitions",
     "Partitions that this broker leads and that have a replica that is missing or behind."},
    {&LoopMetrics::raft_groups, "millrace_raft_groups", "Replicas that run here, of partitions and of the metadata."},
    {&LoopMetrics::raft_groups_quiet, "millrace_raft_groups_quiet",
     "Of those, in groups that are idle and whose replicas all have everything: they cost nothing."},
    {&LoopMetrics::produce_streams, "millrace_produce_streams", "Open Produce streams."},
    {&LoopMetrics::fetch_streams, "millrace_fetch_streams", "Open Fetch streams."},
    {&LoopMetrics::clock_in_doubt, "millrace_clock_in_doubt",
     "Not 0 after the wall clock jumped: retention.ms removes nothing until it is back or the broker is restarted."},
};

constexpr Row<LatencyHistogram> kLatencies[] = {
    {&LoopMetrics::produce_seconds, "millrace_produce_seconds", "From a batch's arrival to its ack."},
    {&LoopMetrics::fetch_seconds, "millrace_fetch_seconds",
     "From the moment a batch could be sent to a reader to the moment it was."},
    {&LoopMetrics::append_seconds, "millrace_append_seconds",
     "Writing what all partitions appended since the last such write, without the sync."},
    {&LoopMetrics::stall_seconds, "millrace_write_stall_seconds",
     "From a write that the store did not take, because its flushes were behind, to the next try."},
    {&LoopMetrics::sync_seconds, "millrace_sync_seconds", "Syncing the write-ahead log."},
};

constexpr Row<SizeHistogram> kSizes[] = {
    {&LoopMetrics::produce_batch_bytes, "millrace_produce_batch_bytes", "Size of an appended batch."},
    {&LoopMetrics::append_bytes, "millrace_append_bytes", "Bytes written together for all partitions."},
};

double SecondsOf(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

int64_t OpenFiles() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int64_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  constexpr int64_t kDotsAndOurOwn = 3;
  return count - kDotsAndOurOwn;
}

}  // namespace

struct Metrics::Impl {
  // Set at construction.
  Options options;
  double start_time = static_cast<double>(std::time(nullptr));

  mutable std::mutex mutex;  // guards the two lists, not what the loops count
  std::vector<std::unique_ptr<LoopMetrics>> loops;
  std::vector<std::function<void(const Emit&)>> sources;
};

namespace {

// The families of one scrape, in the order of their first sample.
class Page {
 public:
  MetricFamily& Family(const std::string& name, const std::string& help, MetricType type) {
    for (MetricFamily& family : families_) {
      if (family.name == name) return family;
    }
    return families_.emplace_back(MetricFamily{name, help, type, {}});
  }

  void Add(const Metrics::Sample& sample) {
    ClientMetric metric;
    for (const auto& [name, value] : sample.labels) metric.label.push_back({name, value});
    (sample.is_counter ? metric.counter.value : metric.gauge.value) = sample.value;
    Family(sample.name, sample.help, sample.is_counter ? MetricType::Counter : MetricType::Gauge)
        .metric.push_back(std::move(metric));
  }

  // The loops' histograms `member` as one; `unit` is what a recorded 1 means.
  template <typename T>
  void AddHistogram(const Row<T>& row, const std::vector<std::unique_ptr<LoopMetrics>>& loops, double unit) {
    const T bounds;
    ClientMetric metric;
    uint64_t sum = 0;
    for (const auto& loop : loops) sum += ((*loop).*row.member).Sum();
    uint64_t count = 0;
    for (int bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
      for (const auto& loop : loops) count += ((*loop).*row.member).Count(bucket);
      const bool last = bucket == Histogram::kBuckets - 1;
      if (!last) metric.histogram.bucket.push_back({count, static_cast<double>(bounds.UpperBound(bucket)) * unit});
    }
    metric.histogram.sample_count = count;
    metric.histogram.sample_sum = static_cast<double>(sum) * unit;
    Family(row.name, row.help, MetricType::Histogram).metric.push_back(std::move(metric));
  }

  std::string ToText() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return std::move(out).str();
  }

 private:
  std::vector<MetricFamily> families_;
};

void AddProcess(Page& page, const Metrics::Options& options, double start_time) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  struct statvfs disk {};
  statvfs(options.data_dir.c_str(), &disk);
  const auto gauge = [&page](const char* name, const char* help, double value) {
    page.Add({.name = name, .help = help, .value = value});
  };
  const double free_bytes = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  const auto floor_bytes = static_cast<double>(options.disk_free_floor);
  gauge("millrace_disk_free_bytes", "Free on the file system of the data directory, for this process.", free_bytes);
  gauge("millrace_disk_free_floor_bytes", "The setting disk.free.floor.", floor_bytes);
  gauge("millrace_disk_free_floor_reached", "1 while less than disk.free.floor is free: records are refused.",
        free_bytes < floor_bytes ? 1 : 0);
  gauge("millrace_memory_limit_bytes", "The setting memory.limit.", static_cast<double>(options.memory_limit));
  page.Add({.name = "millrace_build_info",
            .help = "1, labelled with the version.",
            .value = 1,
            .labels = {{"version", MILLRACE_VERSION}}});
  page.Add({.name = "process_cpu_seconds_total",
            .help = "User and system CPU time.",
            .value = SecondsOf(usage.ru_utime) + SecondsOf(usage.ru_stime),
            .is_counter = true});
  gauge("process_resident_memory_bytes", "Resident set.", static_cast<double>(ResidentBytes()));
  gauge("process_open_fds", "Open file descriptors.", static_cast<double>(OpenFiles()));
  gauge("process_max_fds", "Limit on open file descriptors.", static_cast<double>(files.rlim_cur));
  gauge("process_start_time_seconds", "When the process started, in Unix time.", start_time);
}

void AddErrors(Page& page, const Metrics::Options& options, const std::vector<std::unique_ptr<LoopMetrics>>& loops) {
  constexpr const char* kName = "millrace_errors_total";
  constexpr const char* kHelp = "Errors sent to clients, by code.";
  page.Family(kName, kHelp, MetricType::Counter);
  for (const int code : ErrorCounters::Codes()) {
    uint64_t count = 0;
    for (const auto& loop : loops) count += loop->errors.Value(code);
    if (count == 0) continue;
    const std::string label = options.error_name ? options.error_name(code) : std::to_string(code);
    page.Add({.name = kName,
              .help = kHelp,
              .value = static_cast<double>(count),
              .is_counter = true,
              .labels = {{"code", label}}});
  }
}

}  // namespace

std::vector<int> ErrorCounters::Codes() {
  std::vector<int> codes;
  for (int code = 0; code < kKafkaCodes; ++code) codes.push_back(code);
  for (int code = kOwnFirst; code < kOwnFirst + kOwnCodes; ++code) codes.push_back(code);
  return codes;
}

Metrics::Metrics(Options options) : impl_(std::make_unique<Impl>()) { impl_->options = std::move(options); }
Metrics::~Metrics() = default;

LoopMetrics& Metrics::AddLoop() {
  const std::lock_guard lock(impl_->mutex);
  return *impl_->loops.emplace_back(std::make_unique<LoopMetrics>());
}

void Metrics::AddSource(std::function<void(const Emit&)> source) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sources.push_back(std::move(source));
}

std::string Metrics::Text() const {
  const std::lock_guard lock(impl_->mutex);
  const auto& loops = impl_->loops;
  Page page;
  for (const auto& row : kCounters) {
    double value = 0;
    for (const auto& loop : loops) value += static_cast<double>(((*loop).*row.member).Value());
    page.Add({.name = row.name, .help = row.help, .value = value, .is_counter = true});
  }
  for (const auto& row : kGauges) {
    double value = 0;
    for (const auto& loop : loops) value += static_cast<double>(((*loop).*row.member).Value());
    page.Add({.name = row.name, .help = row.help, .value = value});
  }
  for (const auto& row : kLatencies) page.AddHistogram(row, loops, 1e-9);
  for (const auto& row : kSizes) page.AddHistogram(row, loops, 1);
  AddErrors(page, impl_->options, loops);
  AddProcess(page, impl_->options, impl_->start_time);
  // Known to dashboards before the first group exists.
  page.Family("millrace_group_lag_records", "Records a consumer group has yet to read of a topic.", MetricType::Gauge);
  page.Family("millrace_group_lag_seconds", "How far a consumer group is behind a topic's newest record.",
              MetricType::Gauge);
  for (const auto& source : impl_->sources) source([&page](const Sample& sample) { page.Add(sample); });
  return page.ToText();
}

}  // namespace millrace::server
