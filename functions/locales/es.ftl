## La página de inicio: la del enlace, y donde se pide uno nuevo.
ready-title = Su familia le ha escrito
ready-text = Toque el botón para leer y responder. No hace falta contraseña ni instalar nada.
open = Abrir los mensajes
opening = Abriendo…
dead-title = Este enlace ya no funciona
dead-text = Se usó en otro teléfono o es demasiado antiguo. Puede pedir uno nuevo.
renew = Envíenme un enlace nuevo
renewing = Un momento…
renewed = Va en camino. Llegará al número que tenemos de usted: busque un SMS nuevo.
ask-title = Lea los mensajes de su familia
ask-text = Escriba su número de móvil. Le enviaremos por SMS un enlace que abre los mensajes.
locked-title = Vuelva a abrir los mensajes
locked-text = En este teléfono se ha cerrado la sesión, o usted ya no está en esta conversación. Podemos enviarle un enlace nuevo por SMS.
phone = Su número de móvil
phone-hint = Empiece con + y el código de su país, por ejemplo +34 612 345 678.
phone-wrong = El número no está completo. Empiece con + y el código de su país.
ask = Envíenme un enlace
asked = Si conocemos este número, ya va un SMS en camino.
ask-again = Usar otro número
offline = No hay conexión. Compruebe su red y vuelva a intentarlo.
busy = Hay mucho tráfico en este momento. Vuelva a intentarlo dentro de un momento.
again = Volver a intentarlo
no-script = Esta página necesita JavaScript. Actívelo en su navegador o abra el enlace en otro navegador.
error-title = No ha funcionado
error-text = No se ha perdido nada. Vuelva a intentarlo dentro de un momento.

## La conversación.
messages = Mensajes
family-chat = Chat de la familia
direct-message = Mensaje directo
you = Usted
you-too = usted
separator = { ", " }
today = Hoy
yesterday = Ayer
fresh = Mensajes nuevos
earlier = Mensajes anteriores
loading = Cargando…
empty = Aún no hay mensajes. Escriba el primero.
former-member = Antiguo miembro
deleted = Este mensaje se ha eliminado.
edited = editado
files = { $n ->
    [one] Un archivo
   *[other] { $n } archivos
}
answer = Su respuesta
send = Enviar
sending = Enviando…
unsent = Aún sin enviar
unsent-why = Aún sin enviar. Se enviará cuando vuelva la conexión.
retry = Enviar ahora
refused = No se ha enviado.
left = Caracteres restantes: { $n }
too-long = Sobran { $n }
lost = No hay conexión. Los mensajes nuevos aparecerán cuando vuelva.

## El menú.
menu = Menú
members = En esta conversación
less = Recibir menos SMS
texts-on = Recibe un SMS cuando alguien escribe aquí.
texts-until = No recibirá SMS de aquí hasta: { $time }.
texts-muted = No recibe SMS de esta conversación.
texts-off = No recibe ningún SMS, de ninguna conversación.
texts-none = No tenemos su número de móvil, así que no recibe SMS.
mute-hours = No durante 8 horas
mute = Ningún SMS de esta conversación
stop = Ningún SMS en absoluto
stop-sure = No recibiría más SMS de nadie. Para leer, tendría que entrar aquí por su cuenta.
stop-yes = Sí, no enviar más SMS
resume = Volver a recibir SMS
sign-out = Cerrar sesión en este teléfono
sign-out-sure = Para volver necesitará un enlace nuevo por SMS. Los mensajes aún sin enviar se perderán.
sign-out-yes = Sí, cerrar sesión
no = No, volver
signed-out = Ha cerrado la sesión
signed-out-text = Los mensajes ya no se pueden leer en este teléfono. Podemos enviarle un enlace nuevo por SMS.
