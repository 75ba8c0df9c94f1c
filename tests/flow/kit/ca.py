"""A certification authority for one test run, made by the openssl command."""
import ssl
import subprocess


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Authority:
    def __init__(self, directory, name="Test CA"):
        self.directory = directory
        self.key, self.cert = directory / f"{name}.key", directory / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)
        self.count = 0

    def issue(self, names, days=2):
        """(certificate, key) for such subjectAltNames as "DNS:x" and "IP:y"."""
        self.count += 1
        stem = self.directory / f"{self.cert.stem}-{self.count}"
        key, request, cert, extensions = (stem.with_suffix(s) for s in (".key", ".csr", ".crt", ".ext"))
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=leaf",
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", cert)
        return cert, key

    def server(self, names="IP:127.0.0.1,DNS:localhost", days=2):
        """An SSL context for a server of these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(names, days))
        return context
