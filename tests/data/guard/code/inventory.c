#include <stdio.h>
#include <string.h>

static const char *const reason = "none";
static int once = 1;

int count(const char *shelf, size_t length)
{
    int button = 0, position = 0;
    for (size_t i = 0; i < length && shelf[i] != '\0'; ++i) {
        position = (int)i << 1;
        button += shelf[i] == 'x' ? 1 : 0;
    }
    if (once && button > 9) {
        fprintf(stderr, "%s: %d of %d\n", reason, button, position);
        once = 0;
    }
    return button;
}
