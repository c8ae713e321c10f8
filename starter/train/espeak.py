"""Speech out of libespeak-ng (apt: espeak-ng), in this process: a program started for every word takes ten
times as long."""

import ctypes

import numpy as np

RATE = 16000
# Accents times larynxes. Nothing is trained on the ones held out: they are the unseen voices of the figures.
ACCENTS = ["gmw/" + name for name in ("en", "en-US", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-rp", "en-GB-x-gbcwmd",
                                     "en-029", "en-US-nyc")]
VARIANTS = ["", "m1", "m2", "m3", "m5", "m7", "m8", "f1", "f2", "f3", "f5", "adam", "Alex", "Alicia", "Andrea", "antonio",
            "aunty", "belinda", "benjamin", "caleb", "david", "Denis", "Diogo", "ed", "edward", "Gene", "grandma",
            "gustave", "Henrique", "Hugo", "iven", "Jacky", "john", "kaukovalta", "klatt", "klatt2", "Lee", "marcelo",
            "Marco", "Mario", "max", "michel", "miguel", "Mike", "norbert", "pablo", "paul", "quincy", "rob", "robert",
            "sandro", "shelby", "steph", "steph3", "travis", "victor", "zac"]
UNSEEN_VARIANTS = ["f4", "m4", "m6", "Andy", "Annie", "Michael", "linda", "steph2", "pedro", "boris"]
_SYNCHRONOUS, _RATE_PARAMETER, _PITCH, _RANGE, _UTF8 = 2, 1, 3, 4, 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    def __init__(self):
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.native = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self.native <= 0:
            raise OSError("libespeak-ng does not start")
        self.pieces = []
        self.callback = _CALLBACK(self._take)  # held here: the library keeps only its address
        self.library.espeak_SetSynthCallback(self.callback)

    def _take(self, samples, count, _events):
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text, accent, variant, words_a_minute, pitch=50, spread=50):
        """-> int16 at RATE"""
        import soxr

        name = f"{accent}+{variant}" if variant else accent
        if self.library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name}")
        for parameter, value in ((_RATE_PARAMETER, words_a_minute), (_PITCH, pitch), (_RANGE, spread)):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        raw = text.encode() + b"\0"
        self.pieces = []
        self.library.espeak_Synth(raw, len(raw), 0, 0, 0, _UTF8, None, None)
        if not self.pieces:
            return np.zeros(0, np.int16)
        return soxr.resample(np.concatenate(self.pieces), self.native, RATE)
