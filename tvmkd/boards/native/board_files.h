/* The files of /proc and /sys; below the folder TVMKD_BOARD_ROOT, if that is set (tests plant a board
 * there). As tvmkd/boards/sysfs.py. */
#ifndef TVMKD_BOARD_FILES_H
#define TVMKD_BOARD_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* The content of a file without the blanks around it; false if it cannot be read. */
bool board_text(const char* path, char* out, size_t room);

/* A file's whole number. */
bool board_whole(const char* path, long long* out);

/* As both, for a file of a folder. */
bool board_text_in(const char* folder, const char* name, char* out, size_t room);
bool board_whole_in(const char* folder, const char* name, long long* out);

/* Calls `found` for each path that matches, sorted; without the folder of tests. */
void board_glob(const char* pattern, void (*found)(const char* path, void* context), void* context);

#endif
