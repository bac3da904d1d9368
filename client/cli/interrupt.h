// Ctrl-C and SIGTERM as a request to finish: what was read is sent, what was written out is committed, then the process ends
// with 130. A second signal ends it at once. A closed pipe is an error of write(2) instead of a signal.
//
// Process-wide state, because signals are. All functions may be called from any thread.
#pragma once

namespace millrace::cli {

// Call once, before any thread is started.
void CatchInterrupts();

bool Interrupted();

// Readable once a signal came or WakeReaders() was called; never read from it, only poll.
int WakeFd();

// Makes readers that wait for input look up: a delivery failed and there is no point in reading on.
void WakeReaders();

}  // namespace millrace::cli
