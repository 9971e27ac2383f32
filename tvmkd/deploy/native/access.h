/* Who may ask: a bearer token, and no other web site's pages. As tvmkd/deploy/serving/access.py. */
#ifndef TVMKD_ACCESS_H
#define TVMKD_ACCESS_H

#include "http_head.h"

/* Reads a token: the file's only word. Ends the program where there is none. */
void access_read_token(const char* path, char* out, size_t room);

/* Whether an address is this machine's own. */
bool access_is_loopback(const char* host);

bool access_check(const struct http_head* head, struct fault* fault);

/* Whether clients may load and unload models. */
bool access_check_control(struct fault* fault);

#endif
