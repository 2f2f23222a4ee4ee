# No á, í, ó or ú: the GSM 7-bit alphabet has none of them.
notice = Responda STOP para cancelar
emoji = [emoji]
new-message = nuevo mensaje
fresh-link = este es su enlace
waiting = { $sender } +{ $count } en { $thread }
files = { $count ->
    [1] [foto]
   *[other] [{ $count } archivos]
}
