/* SPDX-License-Identifier: Apache-2.0 */
/* Fault points (base/fault.h) of recovery, and of what happens by itself. */
#ifndef TP_SERVICE_FAULT_POINTS_RECOVER_H
#define TP_SERVICE_FAULT_POINTS_RECOVER_H

#define TP_FAULT_RECOVER_ADOPTED   "recover.adopted"
#define TP_FAULT_RECOVER_COMMITTED "recover.committed"
#define TP_FAULT_RECOVER_ENDED	   "recover.ended"
#define TP_FAULT_RECOVER_SWEPT	   "recover.swept"
#define TP_FAULT_KEEPER_DESTROY	   "keeper.destroy"
#define TP_FAULT_KEEPER_PARK	   "keeper.park"
#define TP_FAULT_KEEPER_LOST	   "keeper.lost"

/* All of them: POINT(name, what has happened by then). */
#define TP_FAULT_POINTS_RECOVER(POINT)                                                             \
	POINT(TP_FAULT_RECOVER_ADOPTED, "guests are taken over; the records are as found")         \
	POINT(TP_FAULT_RECOVER_COMMITTED, "the records say what was found")                        \
	POINT(TP_FAULT_RECOVER_ENDED, "guests of nobody are ended; files are as found")            \
	POINT(TP_FAULT_RECOVER_SWEPT, "all agree; nobody has been let in yet")

#define TP_FAULT_POINTS_KEEPER(POINT)                                                              \
	POINT(TP_FAULT_KEEPER_DESTROY, "a session's time is over; nothing is done about it")       \
	POINT(TP_FAULT_KEEPER_PARK, "a session is to be parked by itself; nothing is done")        \
	POINT(TP_FAULT_KEEPER_LOST, "a guest has ended or booted anew; nothing is done about it")

#endif
