#include "libraries.h"

#include <curl/curl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <sqlite3.h>

size_t
ob_libraries(struct ob_library libraries[OB_LIBRARIES_MAX])
{
	size_t count = 0;

	libraries[count++] = (struct ob_library){"sqlite", sqlite3_libversion()};
	libraries[count++] =
	    (struct ob_library){"curl", curl_version_info(CURLVERSION_NOW)->version};
	libraries[count++] =
	    (struct ob_library){"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)};
	libraries[count++] = (struct ob_library){"jansson", JANSSON_VERSION};
	libraries[count++] = (struct ob_library){"microhttpd", MHD_get_version()};
	return count;
}
