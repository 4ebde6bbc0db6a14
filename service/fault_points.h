/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault points (base/fault.h) of sessions' lives, for tests that walk all of them: X(NAME,
 * WHAT HAS HAPPENED). Each can kill; those of TP_FAULT_POINTS can also fail, TP_FAULT_POINTS_GONE
 * lie where there is no way back.
 */
#ifndef TP_SERVICE_FAULT_POINTS_H
#define TP_SERVICE_FAULT_POINTS_H

#define TP_FAULT_POINTS(X)                                                                         \
	X("create.begin", "nothing")                                                               \
	X("create.loaded", "a process has the template's state, and stands still")                 \
	X("create.running", "the guest runs; nothing is recorded")                                 \
	X("create.submitted", "the commit is under way, freshness not confirmed")                  \
	X("create.dropped", "a process is given up: still there, not recorded any more")           \
	X("create.committed", "recorded and fresh; not acknowledged")                              \
	X("park.begin", "nothing")                                                                 \
	X("park.durable", "the image is there, the guest stands still; recorded as running")       \
	X("park.committed", "recorded as parked; the process is still there")                      \
	X("resume.begin", "nothing")                                                               \
	X("resume.loaded", "a process has the image's state, and stands still")                    \
	X("resume.running", "the guest runs; recorded as parked")                                  \
	X("resume.submitted", "the commit is under way, freshness not confirmed")                  \
	X("resume.committed", "recorded and fresh; not acknowledged")                              \
	X("pause.turned", "the guest stands still; recorded as running")                           \
	X("pause.committed", "recorded as paused; not acknowledged")                               \
	X("unpause.turned", "the guest runs; recorded as paused")                                  \
	X("unpause.committed", "recorded as running; not acknowledged")                            \
	X("checkpoint.begin", "nothing")                                                           \
	X("checkpoint.durable", "an image is there that no record names")                          \
	X("checkpoint.committed", "the image is recorded; not acknowledged")                       \
	X("remove-image.committed", "not recorded any more; the file is still there")              \
	X("fork.begin", "nothing but, perhaps, a handle on the image")                             \
	X("fork.loaded", "one of the forks has its process")                                       \
	X("fork.running", "one of the forks runs; none is recorded")                               \
	X("fork.submitted", "the same: forks are recorded together")                               \
	X("fork.committed", "all are recorded and fresh; not acknowledged")                        \
	X("destroy.begin", "nothing")                                                              \
	X("destroy.committed", "not recorded any more; guest and images are still there")          \
	X("change.committed", "recorded; not acknowledged")                                        \
	X("settle.committed", "whatever it was, it is recorded, and so is its audit entry")

#define TP_FAULT_POINTS_GONE(X)                                                                    \
	X("park.gone", "recorded as parked, the process gone; not acknowledged")                   \
	X("destroy.ended", "not recorded, the guest ended; images are still there")                \
	X("destroy.unlinked", "nothing is left; not acknowledged")                                 \
	X("lost.begin", "a guest ended by itself; recorded as running")                            \
	X("lost.committed", "that is recorded; what is left of it is not cleaned up")

#endif
