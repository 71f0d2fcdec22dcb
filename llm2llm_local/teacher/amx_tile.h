/* The Makefile puts this before each C++ source of llama.cpp (CXXFLAGS).

   Intel's AMX multiplies in tiles, whose shapes a program loads from 64 bytes. The header of some versions of GCC (12.2,
   for one) tells the compiler that the instruction reads 8 of them, and it drops what llama.cpp writes into the others:
   the first batch of tokens then ends the process with SIGILL (llama.cpp's pull request 26954). Here it is told of all. */
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])(config)))
#endif
