/* The listening socket, and the client of --health. */
#ifndef TVMKD_LISTENING_H
#define TVMKD_LISTENING_H

/* Listens, not blocking; *port gets the real one. Ends the program if that fails. */
int listening_socket(const char* host, int* port);

/* Asks a server whether it is ready; returns the exit code, 0 or 1. */
int ask_health(const char* host, int port);

#endif
