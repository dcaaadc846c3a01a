#include "mend.h"

#include <stddef.h>

#include "text.h"

/* The first one whose beginning is that of the code counts. */
static const struct {
	const char *code, *mend;
} mends[] = {
    {"connect_refused",
     "nothing listens there: are host and port right, and is the recipient running?"},
    {"connect_timeout",
     "nothing answers there: is the host right, and does a firewall let this machine through?"},
    {"unreachable", "no way leads there from this machine: look at its network"},
    {"connect_denied", "this machine forbids the connection: look at its firewall"},
    {"dns", "is the name right? if so, look at the name servers of this machine"},
    {"proxy", "is the proxy right that --sink-option proxy names?"},
    {"tls_handshake", "does it speak TLS at this port? if not, write http://"},
    {"tls_verify", "give the name that is in its certificate, or trust its authority with "
		   "--sink-option ca-file=FILE"},
    {"tls_config", "look at the files of ca-file, cert-file and key-file"},
    {"connection_lost", "it closed without an answer: look into its log"},
    {"bad_answer", "what listens there does not speak HTTP: is the port right?"},
    {"answer_cut", "it broke off its answer: look into its log"},
    {"timeout", "look into its log, or give it more time with --sink-option request-timeout=TIME"},
    {"http_3", "redirects are not followed: give the URL that it leads to"},
    {"http_401",
     "it wants to know who calls: --sink-option bearer-token-file=FILE, or header-file"},
    {"http_403",
     "the credentials do not allow it: look at bearer-token-file or header-file, and at "
     "its configuration"},
    {"http_404", "is the path of the URL right?"},
    {"http_405", "it takes no POST there: is the path of the URL right?"},
    {"http_410", "it is gone for good: give the URL of what has replaced it"},
    {"http_415", "it wants another form: --format, or --sink-option content-type=TYPE"},
    {"http_429", "it has too much to do: try again later"},
    {"http_", "look into the recipient's log"},
    {"exit_126", "the program may not be run: chmod +x"},
    {"exit_127", "there is no such program: give its path"},
    {"disk_full", "free some space"},
};

const char *
ob_mend_of(const char *code)
{
	for (size_t i = 0; i < sizeof(mends) / sizeof(mends[0]); i++)
		if (ob_text_starts_with(code, mends[i].code))
			return mends[i].mend;
	return NULL;
}
