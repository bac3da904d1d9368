// Ctrl-C and SIGTERM end the process with 130: at once, or, where a command has something to finish (what was read is sent, what
// was measured is told), as a request; a second signal then ends it at once. A closed pipe is an error of write(2) instead of
// a signal.
//
// Process-wide state, because signals are. All functions may be called from any thread.
#pragma once

#include <chrono>

namespace millrace::cli {

// Call once, before any thread is started.
void CatchInterrupts();

// From now on the first signal only shows in Interrupted() and WakeFd().
void DeferInterrupts();

bool Interrupted();

// Readable once a signal came or WakeReaders() was called; never read from it, only poll.
int WakeFd();

// Returns at `at`, or as soon as WakeFd() is readable. Precise to a microsecond.
void WaitUntil(std::chrono::steady_clock::time_point at);

// Makes readers that wait for input look up: a delivery failed and there is no point in reading on.
void WakeReaders();

}  // namespace millrace::cli
