/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes a guest's memory at random, in the ways that a park must not miss. Static; runs in the
 * guest.
 *
 *   mutate SEED DIR    changes files in DIR (a tmpfs): pages and pieces that lie across pages,
 *                      whole pages of zeros, pages with what they hold already, holes, removals
 *   mutate -b SEED DIR leaves a process in the background that changes mapped memory for ever and
 *                      checks it whenever it comes by; it writes how many rounds it has done into
 *                      DIR/rounds, and DIR/broken if memory isn't what it was
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	   4096
#define FILES	   6
#define FILE_PAGES 256
#define CHANGES	   400
#define MAP_PAGES  1024
#define BURST	   64 /* pages changed between two pauses */
#define PAUSE_US   20000

/* splitmix64: small, and the same everywhere. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(next(&seed) >> 56);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- Files --- */

static void put(int fd, const void *bytes, size_t len, off_t at)
{
	if (pwrite(fd, bytes, len, at) != (ssize_t)len)
		die("pwrite");
}

static void rewrite_same(int fd, off_t page)
{
	uint8_t bytes[PAGE];
	ssize_t n = pread(fd, bytes, PAGE, page * PAGE);

	if (n < 0)
		die("pread");
	if (n > 0)
		put(fd, bytes, (size_t)n, page * PAGE);
}

static void change(int fd, uint64_t *state)
{
	uint8_t bytes[2 * PAGE] = {0};
	off_t page = (off_t)(next(state) % FILE_PAGES);

	switch (next(state) % 8) {
	case 0: /* a page of zeros */
		put(fd, bytes, PAGE, page * PAGE);
		break;
	case 1: /* what is there already */
		rewrite_same(fd, page);
		break;
	case 2: /* a hole: the page itself is freed */
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, PAGE) <
			0)
			die("fallocate");
		break;
	case 3: /* shorter or longer */
		if (ftruncate(fd, (off_t)(next(state) % (FILE_PAGES * PAGE))) < 0)
			die("ftruncate");
		break;
	case 4: { /* a few bytes */
		size_t len = 1 + next(state) % 16;
		fill(bytes, len, next(state));
		put(fd, bytes, len, page * PAGE + (off_t)(next(state) % PAGE));
		break;
	}
	case 5: { /* across a page's end */
		size_t len = 1 + next(state) % sizeof(bytes);
		fill(bytes, len, next(state));
		put(fd, bytes, len, page * PAGE + (off_t)(next(state) % PAGE));
		break;
	}
	default: /* a page */
		fill(bytes, PAGE, next(state));
		put(fd, bytes, PAGE, page * PAGE);
	}
}

static void change_files(uint64_t seed)
{
	char name[16];

	for (int i = 0; i < CHANGES; i++) {
		snprintf(name, sizeof(name), "file-%u", (unsigned int)(next(&seed) % FILES));
		if (next(&seed) % 64 == 0) {
			unlink(name);
			continue;
		}
		int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			die(name);
		change(fd, &seed);
		close(fd);
	}
}

/* --- Mapped memory --- */

static void write_number(const char *name, uint64_t number)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%20ju\n", (uintmax_t)number);
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || pwrite(fd, text, (size_t)len, 0) != len)
		die(name);
	close(fd);
}

/* A page is what its seed gives; seed 0: zeros. */
static void write_page(uint8_t *page, uint64_t seed)
{
	if (seed == 0)
		memset(page, 0, PAGE);
	else
		fill(page, PAGE, seed);
}

static int is_page(const uint8_t *page, uint64_t seed)
{
	uint8_t wanted[PAGE];

	write_page(wanted, seed);
	return memcmp(page, wanted, PAGE) == 0;
}

static void change_memory(uint64_t seed)
{
	static uint64_t seeds[MAP_PAGES];
	uint8_t *memory = mmap(NULL, (size_t)MAP_PAGES * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	for (uint64_t round = 1;; round++) {
		for (int i = 0; i < BURST; i++) {
			uint64_t page = next(&seed) % MAP_PAGES;
			if (!is_page(memory + page * PAGE, seeds[page])) {
				write_number("broken", page);
				exit(1);
			}
			seeds[page] = next(&seed) % 4 ? next(&seed) : 0;
			write_page(memory + page * PAGE, seeds[page]);
		}
		write_number("rounds", round);
		usleep(PAUSE_US);
	}
}

static void into_background(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		_exit(0);
	setsid();
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
}

int main(int argc, char **argv)
{
	int background = argc == 4 && strcmp(argv[1], "-b") == 0;

	if (argc != 3 && !background) {
		fprintf(stderr, "mutate [-b] SEED DIR\n");
		return 2;
	}
	uint64_t seed = strtoull(argv[argc - 2], NULL, 0);
	mkdir(argv[argc - 1], 0700);
	if (chdir(argv[argc - 1]) < 0)
		die(argv[argc - 1]);
	if (!background) {
		change_files(seed);
		return 0;
	}
	into_background();
	change_memory(seed);
}
